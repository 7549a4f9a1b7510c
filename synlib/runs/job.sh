
# From here on all jobs are the same; synlib/runs/slurm.py writes what is above.
# By hand: sbatch --dependency=singleton job.sh
echo "job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, attempt $((${SLURM_RESTART_COUNT:-0} + 1))"
cd "$code" || { echo "$(hostname): $code cannot be read on this node"; exit 1; }
unset SYNLIB_LAUNCHER
export PYTHONUNBUFFERED=1
setup

saved() { ls -- "$run"/model_*.pth "$run"/evaluations/*/result.json 2>/dev/null; }
# Time is nearly up: the training saves its state and ends. A cluster that ends the job earlier tells it by itself.
trap 'out_of_time=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
trap : TERM
rm -f -- "$run/failure.json"
before=$(saved)
srun --kill-on-bad-exit=1 --cpus-per-task="$cpus" "${worker[@]}" "$run" &
training=$!
while kill -0 $training 2>/dev/null; do wait $training; status=$?; done
if [ "$out_of_time" ] && [ ! -e "$run/result.json" ]; then
    if [ "$(saved)" != "$before" ]; then
        scontrol requeue "$SLURM_JOB_ID" && { sleep 60; exit 1; }
    fi
    echo "the time of the job is too short: nothing could be saved in it"
    exit 1
fi
exit $status
