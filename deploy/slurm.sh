#!/bin/bash
# Eight workers as Slurm jobs, and the job itself: sbatch deploy/slurm.sh params.yaml /mnt/shared/job
# In the params: beam: {cluster: /mnt/shared/job/scheduler.json}
#SBATCH --job-name=gangue --ntasks=9 --cpus-per-task=4 --mem-per-cpu=4G --time=12:00:00
set -euo pipefail
params=$1 job=$2
mkdir -p "$job"
rm -f "$job/scheduler.json"
dask scheduler --scheduler-file "$job/scheduler.json" --port 0 &
scheduler=$!
run=${SLURM_JOB_ID:+srun --ntasks=8}
$run dask worker --scheduler-file "$job/scheduler.json" --nthreads 1 --memory-limit 12GiB --no-dashboard &
trap 'kill $(jobs -p)' EXIT
until [ -s "$job/scheduler.json" ]; do
  kill -0 "$scheduler" || exit 1
  sleep 1
done
gangue mine --params "$params" --data "$job/data" --reports "$job/reports"
