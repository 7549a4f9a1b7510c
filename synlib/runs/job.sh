{% set settings = execution.slurm %}
{% set on_node = execution.job_processes // settings.nodes %}
{% set cpus = settings.cpus // settings.nodes or on_node * (execution.threads + execution.loader_workers) %}
#!/bin/bash
#SBATCH --job-name={{ run.path.name }}
#SBATCH --chdir={{ run.path | quoted }}
#SBATCH --output={{ run.output_path | string | replace("%", "%%") | quoted }}
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --signal=B:USR1@{{ settings.stop_before_s }}
#SBATCH --nodes={{ settings.nodes }}
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task={{ [1, cpus] | max }}
{% if settings.gpus %}
#SBATCH --gpus-per-node={{ on_node }}
{% endif %}
{% for name in ("mem", "time", "partition", "account") if settings[name] %}
#SBATCH --{{ name }}={{ settings[name] }}
{% endfor %}
{% for directive in settings.directives %}
#SBATCH {{ directive }}
{% endfor %}
# Written by synlib/runs/slurm.py from synlib/runs/job.sh. By hand: sbatch --dependency=singleton job.sh

run={{ run.path | quoted }}
code={{ code | quoted }}
worker=({{ python | quoted }} {% if execution.job_processes > 1 %}
    -m torch.distributed.run --nnodes={{ settings.nodes }} --nproc-per-node={{ on_node }} --rdzv-backend=c10d
    --rdzv-id="$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"
    --rdzv-endpoint="$(hostname):$((20000 + SLURM_JOB_ID % 20000))"
{% endif %}
    -m synlib.pointrend.worker)
echo "job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, attempt $((${SLURM_RESTART_COUNT:-0} + 1))"
cd "$code" || { echo "$(hostname): $code cannot be read on this node"; exit 1; }
unset SYNLIB_LAUNCHER
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS={{ execution.threads }}
{% for line in settings.setup %}
{{ line }} || exit 1
{% endfor %}

saved() { ls -- "$run"/model_*.pth "$run"/evaluations/*/result.json 2>/dev/null; }
# Time is nearly up: the training saves its state and ends. A cluster that ends the job earlier tells it by itself.
trap 'out_of_time=1; scancel --signal=TERM "$SLURM_JOB_ID"' USR1
trap : TERM
rm -f -- "$run/failure.json"
before=$(saved)
srun --kill-on-bad-exit=1 --cpus-per-task={{ [1, cpus] | max }} "${worker[@]}" "$run" &
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
