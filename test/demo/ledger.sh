# The program of the demo, for machines with nothing but bash: the same as ledger.c, without threads.
secret=$RANDOM$RANDOM$RANDOM
exec {journal}>>"$1"
# A FIFO that nobody writes to: `read` with a time limit naps on it without starting a process.
mkfifo "$1.nap"
exec {nap}<>"$1.nap"
echo 0 >"$1.child"
( ticks=0; while :; do ticks=$((ticks + 1)); echo "$ticks" >>"$1.child"; read -rt 0.05 -u "$nap"; done ) &
child=$!
memory=()
for number in {1..2000}; do memory[number]=$secret$number; done
for ((tick = 1; ; tick++)); do
  state=good
  for number in {1..2000}; do [ "${memory[number]}" = "$secret$number" ] || state=DAMAGED; done
  # Lines are added, never overwritten: a file that is written anew is empty for a moment.
  mapfile -t lines <"$1.child"
  ticks=${lines[${#lines[@]} - 1]}
  echo "tick=$tick pid=$$ child=$child childTicks=${ticks:-0} threads= memory=$state secret=$secret" >&"$journal"
  read -rt 0.1 -u "$nap"
done
