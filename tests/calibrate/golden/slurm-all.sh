#!/bin/bash
#SBATCH --job-name=budgetplan
#SBATCH --array=0-1%1
#SBATCH --output=/scratch/store/launches/first/task-%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --mem=64G
#SBATCH --time=2:00:00
#SBATCH --partition=gpu
#SBATCH --account=me
#SBATCH --qos=high
#SBATCH --constraint=h100
#SBATCH --reservation=today

# One task of a calibration. The warning before the time limit (USR1) and a termination (TERM) are
# passed on, and the worker writes its checkpoint and ends with 75. After a warning the task is
# queued again from here; after a pre-emption Slurm does it, and after a scancel nobody must.
module load cuda
export OMP_NUM_THREADS=8 PYTHONUNBUFFERED=1
'/env with space/bin/python' -m budgetplan.calibrate.worker --work /scratch/store/launches/first/work.json --task "$SLURM_ARRAY_TASK_ID" --tasks 2 &
worker=$!
asked=
trap 'told=1 asked=1; kill -USR1 "$worker" 2>/dev/null' USR1
trap 'told=1; kill -USR1 "$worker" 2>/dev/null' TERM
while told=; wait "$worker"; code=$?; [ -n "$told" ]; do :; done  # a trap ends a wait early
[ -e /scratch/store/launches/first/cancelled ] && exit 0
if [ -n "$asked" ] && { [ "$code" -eq 75 ] || [ "$code" -gt 128 ]; }; then
    if [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ]; then
        scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" && exit 0
    fi
fi
exit "$code"
