#!/bin/bash -l
#SBATCH --export=NONE
#SBATCH --job-name=surveyflow-candels-v1.0
#SBATCH --partition=long
#SBATCH --account=astro
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=2
#SBATCH --mem=8192M
#SBATCH --time=2-00:00:00
#SBATCH --output=/project/surveyflow/candels-v1.0-51ab6a80/logs/head-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120

folder=/project/surveyflow/candels-v1.0-51ab6a80
refuse() {
    echo "surveyflow: $*" >&2
    echo 1 >"$folder/finished"
    scancel --quiet $(cat "$folder/pools.id")
    exit 1
}
trap 'refuse "the prologue failed at: $BASH_COMMAND"' ERR
module load cuda/12.4
source /project/venv/bin/activate
trap - ERR
export DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION=True
export DASK_DISTRIBUTED__COMM__TLS__CA_FILE=/project/surveyflow/candels-v1.0-51ab6a80/certificates/certificate.pem
export DASK_DISTRIBUTED__COMM__TLS__SCHEDULER__CERT=/project/surveyflow/candels-v1.0-51ab6a80/certificates/certificate.pem
export DASK_DISTRIBUTED__COMM__TLS__SCHEDULER__KEY=/project/surveyflow/candels-v1.0-51ab6a80/certificates/key.pem
export DASK_DISTRIBUTED__COMM__TLS__WORKER__CERT=/project/surveyflow/candels-v1.0-51ab6a80/certificates/certificate.pem
export DASK_DISTRIBUTED__COMM__TLS__WORKER__KEY=/project/surveyflow/candels-v1.0-51ab6a80/certificates/key.pem
export DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT=/project/surveyflow/candels-v1.0-51ab6a80/certificates/certificate.pem
export DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY=/project/surveyflow/candels-v1.0-51ab6a80/certificates/key.pem
export DASK_DISTRIBUTED__ADMIN__LOG_LENGTH=1000
export DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH=20
export DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__DISK=False
export DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__INTERVAL=10s
export DASK_DISTRIBUTED__ADMIN__SYSTEM_MONITOR__LOG_LENGTH=360
export DASK_DISTRIBUTED__ADMIN__TICK__CYCLE=10s
export DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL=500ms
export DASK_DISTRIBUTED__DIAGNOSTICS__COMPUTATIONS__MAX_HISTORY=10
export DASK_DISTRIBUTED__SCHEDULER__ACTIVE_MEMORY_MANAGER__START=False
export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False
export PYTHONSAFEPATH=1
export MALLOC_MMAP_THRESHOLD_=33554432
export MALLOC_TRIM_THRESHOLD_=134217728
export MIMALLOC_PURGE_DELAY=10000
export DASK_DISTRIBUTED__DASHBOARD__LINK='https://{host}:{port}/status'
export DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=0
export DASK_DISTRIBUTED__SCHEDULER__NO_WORKERS_TIMEOUT=7200s
export DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL=300s
found=$(/project/venv/bin/python -m surveyflow --version) || refuse "no surveyflow: see above what its interpreter says"
[ "$found" = "surveyflow 0.1.0" ] || refuse "found $found, expected 0.1.0, which submitted the jobs"

again() { rm -f "$folder/scheduler.json"; scontrol requeue "$SLURM_JOB_ID"; exit; }
trap again USR1  # walltime is near
rm -f "$folder/scheduler.json"
/project/venv/bin/python -m dask scheduler --scheduler-file "$folder/scheduler.json" --interface ib0 --port 0 \
    --protocol tls --dashboard-address 127.0.0.1:0 --preload surveyflow.execution.http_server &
scheduler=$!
until [ -s "$folder/scheduler.json" ]; do kill -0 "$scheduler" || exit 1; sleep 0.5; done
held=0
for try in {1..20}; do
    /project/venv/bin/python -m surveyflow run /survey/workflow.toml --profile /project/surveyflow/candels-v1.0-51ab6a80/driver.toml --json >"$folder/result.json" &
    driver=$!
    wait -n "$driver" "$scheduler"
    code=$?
    if ! kill -0 "$scheduler" 2>/dev/null; then
        [ "${SLURM_RESTART_COUNT:-0}" -ge 20 ] || again
        code=1
        break
    fi
    if [ "$code" -eq 4 ] && [ "$((held += 1))" -le 7 ]; then
        sleep 60 &
        wait "$!"  # a signal is heard at once, unlike during sleep
        continue
    fi
    [ "$code" -ge 128 ] || break
done
echo "$code" >"$folder/finished"
scancel --quiet $(cat "$folder/pools.id")
kill "$scheduler"
wait "$scheduler"
exit "$code"
