#!/bin/bash
# A Slurm cluster of one node on loopback, for as long as a command runs:
#     cluster.sh FOLDER COMMAND...
# Exit status 77 and a line that says why where it can't start.
set -u
folder=$1
shift
cannot() { echo "no Slurm here: $*"; exit 77; }
for program in slurmctld slurmd munged sbatch sinfo; do
  PATH=$PATH:/usr/sbin command -v $program >/dev/null ||
    cannot "$program is not installed (Debian: apt-get install slurm-wlm munge)"
done
PATH=$PATH:/usr/sbin
((EUID == 0)) || cannot "slurmd needs root"

mkdir -p "$folder"/{state,spool,munge}
chmod 755 "$folder" "$folder"/munge
dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 2>/dev/null
chmod 400 "$folder/munge/key"
port=$((20000 + RANDOM % 20000))
node=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf
cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
SlurmctldPort=$port
SlurmdPort=$((port + 1))
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
ReturnToService=2
MinJobAge=300
NodeName=$node NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
CONF

processes=()
stop() {
  for pid in "${processes[@]}"; do kill "$pid" 2>/dev/null; done
  wait 2>/dev/null
}
trap stop EXIT
munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
  --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" \
  >"$folder/munged.out" 2>&1 &
processes+=($!)
slurmctld -D -i >"$folder/slurmctld.out" 2>&1 &
processes+=($!)
slurmd -D -N "$node" >"$folder/slurmd.out" 2>&1 &
processes+=($!)
for ((i = 0; i < 200; ++i)); do
  [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle ]] && break
  for pid in "${processes[@]}"; do
    kill -0 "$pid" 2>/dev/null ||
      cannot "a daemon ended: $(tail -qn 2 "$folder"/*.out "$folder"/*.log | tr '\n' ' ')"
  done
  sleep 0.1
done
((i < 200)) || cannot "the node did not become idle: $(sinfo 2>&1 | tr '\n' ' ')"
"$@"
