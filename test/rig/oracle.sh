# The independent leak oracle: prints one line for every object that the engine with its roots below DIR ($1) and its
# data root at DATA ($2) has in the kernel, seen from the network namespace it runs in. Run it before and after: what is
# new is a leak.
dir=$1
data=$(realpath -m "$2")
instance=cx$(printf %s "$data" | sha256sum | cut -c1-6)
[ "$data" = /var/lib/conex ] && instance=conex
# Mounts in any process's namespace, and snapshots or volumes that some process still sees.
cat /proc/[0-9]*/mountinfo 2>/dev/null | awk -v d="$dir" 'index($0, d) {print "mount", $5, $9, $10}' | sort -u
# Processes whose command line or working directory is below DIR (the daemon itself included). One program looks at all
# processes: a busy machine has hundreds, and each test asks twice.
named=$(grep -laF -- "$dir/" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3)
inside=$(find /proc/[0-9]* -maxdepth 1 -name cwd -lname "*$dir/*" 2>/dev/null | cut -d/ -f3)
for p in $(printf '%s\n' $named $inside | sort -un); do
	[ "$p" = "$$" ] || ! [ -d "/proc/$p" ] && continue
	text=$(tr '\0\n' '  ' <"/proc/$p/cmdline" 2>/dev/null)
	case $text in *oracle*) continue ;; esac
	echo "process $p ${text:0:120}"
done
# Network namespaces that the engine's processes and containers are in or hold (other tests of the machine have theirs), links
# of this namespace, firewall rules, bound ports.
for p in $named $(grep -lF -- "/$instance" /proc/[0-9]*/cgroup 2>/dev/null | cut -d/ -f3); do
	ls -l "/proc/$p/ns/net" "/proc/$p/fd" 2>/dev/null
done | grep -o 'net:\[[0-9]*\]' | sort -u | sed 's/^/netns /'
ip -o link | awk -F': ' '{sub(/@.*/, "", $2); print "link", $2}'
nft list ruleset 2>/dev/null | sed 's/ counter packets [0-9]* bytes [0-9]*//; s/^/nft /'
ss -Htuln 2>/dev/null | awk '{print "port", $1, $5}'
# Control groups made for it: directories of ours in every hierarchy.
find /sys/fs/cgroup -mindepth 2 -type d -path "*/$instance*" ! -path '*/conex-*' 2>/dev/null | sed 's/^/cgroup /'
# Temporary files outside of the roots.
ls -d /tmp/conex-shim* /tmp/conexd* /tmp/.conex* /dev/shm/conex* /var/tmp/conex* 2>/dev/null | sed 's/^/temp /'
[ -d "$dir" ] && find "$dir" -xdev \( -name '*.tmp-*' -o -path '*/ingest/*' -o -path '*/trash/*' \) 2>/dev/null | sed 's/^/temp /'
true
