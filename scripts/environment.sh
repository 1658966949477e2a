# Sourced by the other scripts: brings .venv up to date with this checkout. It needs only Python and a package index.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$root/.venv"

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "surveyflow needs Python 3.11, 3.12 or 3.13 on the path; found: $(python3 --version 2>&1 || echo none)" >&2
    return 1
}

# Digest of everything that the environment depends on; if it changes, the environment is brought up to date.
fingerprint() {
    (cd "$root" && cat requirements.lock pyproject.toml && echo "$root") | sha256sum | cut -d' ' -f1
}

make_environment() {
    local python
    if [ ! -x "$venv/bin/python" ]; then
        python="$(find_python)"
        echo "Making .venv with $("$python" --version): about 2 GB and a few minutes" >&2
        if ! "$python" -m venv "$venv"; then
            rm -rf "$venv"
            echo "$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2
            return 1
        fi
    else
        echo "Bringing .venv up to date" >&2
    fi
    local pip=("$venv/bin/python" -m pip -qq --disable-pip-version-check --no-input)
    "${pip[@]}" install --require-hashes -r "$root/requirements.lock"
    # Another project's package of the same name, or a checkout from before this one had a name of its own.
    "${pip[@]}" uninstall --yes surveyflow
    "${pip[@]}" install --no-deps -e "$root"
    fingerprint >"$venv/made-from"
}

if [ "$(cat "$venv/made-from" 2>/dev/null)" != "$(fingerprint)" ]; then
    make_environment
fi
