#!/bin/sh
# Install surveyflow from this checkout with the versions of its lock file: install.sh CHECKOUT cpu|gpu
# The lock file names tensorflow-cpu; for GPUs it is replaced by the same version of tensorflow. A C++ compiler is needed.
set -eu

checkout="$1"
extra="$2"

constraints="$(mktemp)"
sed -E -e 's/[[:space:]]*\\$//' -e '/^[[:space:]]*--hash=/d' -e 's/[[:space:]]+--hash=[^ ]*//g' "$checkout/requirements.lock" >"$constraints"
if [ "$extra" = gpu ]; then
    sed -i -E 's/^tensorflow-cpu==/tensorflow==/' "$constraints"
fi

SURVEYFLOW_NATIVE=require python -m pip install --no-cache-dir --disable-pip-version-check \
    --constraint "$constraints" "$checkout[$extra,metrics]"
rm "$constraints"
