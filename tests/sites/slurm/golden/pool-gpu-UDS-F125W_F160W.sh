#!/bin/bash -l
#SBATCH --export=NONE
#SBATCH --job-name=surveyflow-candels-v1.0-gpu-UDS-F125W_F160W
#SBATCH --partition=gpu
#SBATCH --account=astro
#SBATCH --qos=preemptible
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=65536M
#SBATCH --time=0-04:00:00
#SBATCH --output=/project/surveyflow/candels-v1.0-51ab6a80/logs/gpu-UDS-F125W_F160W-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --nice=3
#SBATCH --requeue
#SBATCH --constraint=a100-80
#SBATCH --exclude=node[7-9]
#SBATCH --array=1-1
#SBATCH --signal=B:USR1@60
#SBATCH --gres=gpu:a100:1

folder=/project/surveyflow/candels-v1.0-51ab6a80
refuse() {
    echo "surveyflow: $*" >&2
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
export SURVEYFLOW_WORKER_LOGS=/project/surveyflow/candels-v1.0-51ab6a80/logs
export SURVEYFLOW_POOL=gpu-UDS-F125W_F160W
export OMP_NUM_THREADS=8
export OPENBLAS_NUM_THREADS=8
export MKL_NUM_THREADS=8
export TF_NUM_INTRAOP_THREADS=8
export TF_NUM_INTEROP_THREADS=1
export TF_CPP_MIN_LOG_LEVEL=2
export TF_FORCE_GPU_ALLOW_GROWTH=true
found=$(/project/venv/bin/python -m surveyflow --version) || refuse "no surveyflow: see above what its interpreter says"
[ "$found" = "surveyflow 0.1.0" ] || refuse "found $found, expected 0.1.0, which submitted the jobs"

head_is() {  # is the head's job in one of these states?
    [ ! -e "$folder/finished" ] || return 1
    local jobs
    jobs=$(squeue --me --noheader --format="%F %T") || return 0  # nobody can tell just now
    grep -qxE "$(cat "$folder/head.id") ($1)" <<<"$jobs"
}
head_is_there() { head_is '.*'; }
again() { if head_is_there; then scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"; fi; }
leave() { [ "${#workers[@]}" -eq 0 ] || { kill "${workers[@]}"; wait "${workers[@]}"; }; again; exit; }
workers=()
trap leave USR1  # walltime is near: a worker that had to start anew counts its lifetime anew
head_is_there || exit 0
pause=2
until [ -s "$folder/scheduler.json" ] && head_is RUNNING; do  # a head that lost its node leaves this file behind
    head_is_there || exit 0
    sleep "$pause"; [ "$((pause += 2))" -le 30 ] || pause=30
done
scratch=$(mktemp -d "$TMPDIR/surveyflow-XXXXXXXX") || exit 1  # only you can read it
trap 'rm -rf "$scratch"' EXIT
start_worker() {
    /project/venv/bin/python -m dask worker --scheduler-file "$folder/scheduler.json" \
        --interface ib0 --protocol tls --dashboard-address 127.0.0.1:0 \
        --name "$SLURM_JOB_NAME-${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}_${SLURM_RESTART_COUNT:-0}-$1" \
        --nworkers 1 --nthreads 2 --memory-limit 0 \
        --resources model:UDS/F125W_F160W=2 \
        --lifetime 12600s --lifetime-stagger 1200s --death-timeout 60s \
        --local-directory "$scratch" --preload surveyflow.execution.http_server --preload surveyflow.execution.worker_process &
    workers+=("$!")
}
for number in 0; do start_worker $number; done
began=$SECONDS
code=0
for worker in "${workers[@]}"; do wait "$worker" || code=$?; done
if [ "$code" -ne 0 ] && [ $((SECONDS - began)) -lt 60 ] && [ "${SLURM_RESTART_COUNT:-0}" -ge 20 ]; then
    echo "no worker lives here: this one ended at once, after 20 before it; see above why"
    exit "$code"
fi
again
exit "$code"
