package container

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	types "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"

	"github.com/conex-containers/conex/base/errdefs"
)

// clockTicks is USER_HZ, which proc(5) counts in; Linux fixes it at 100 for all that Go runs on.
const clockTicks = 100

// ContainerTop lists a container's processes. The default columns are computed here; other ps arguments run the
// host's ps and keep the lines of the container's processes.
func (s *Service) ContainerTop(ctx context.Context, ref, psArgs string) (types.TopResponse, error) {
	var none types.TopResponse
	c, err := s.index.find(ref)
	if err != nil {
		return none, err
	}
	v := c.view()
	if !v.alive() {
		if v.State == types.StateRestarting {
			return none, errdefs.Conflict("container %s is restarting, wait until the container is running", v.ID)
		}
		return none, errdefs.Conflict("container %s is not running", v.ID)
	}
	pids, err := s.cfg.Processes.Pids(ctx, s.cfg.Namespace, v.ID)
	if err != nil {
		return none, fmt.Errorf("container %s: top: %w", v.ID, err)
	}
	slices.Sort(pids)
	defer s.publish(&v.Record, events.ActionTop)
	if psArgs != "" && psArgs != "-ef" {
		return hostPS(ctx, psArgs, pids)
	}
	out := types.TopResponse{Titles: []string{"UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"}, Processes: [][]string{}}
	boot := bootTime()
	for _, pid := range pids {
		if row, ok := processRow(pid, boot, time.Now()); ok {
			out.Processes = append(out.Processes, row)
		}
	}
	return out, nil
}

// processRow reads one process as `ps -ef` shows it; false when it has ended meanwhile.
func processRow(pid int, boot, now time.Time) ([]string, bool) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return nil, false
	}
	// The name in parentheses may hold anything, so the fields are counted after the last one.
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return nil, false
	}
	f := strings.Fields(string(stat[end+1:]))
	if len(f) < 20 {
		return nil, false
	}
	number := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
	used := time.Duration(number(11)+number(12)) * time.Second / clockTicks
	start := boot.Add(time.Duration(number(19)) * time.Second / clockTicks)
	percent := 0
	if lived := now.Sub(start); lived > 0 {
		percent = int(min(99, 100*used/lived))
	}
	command := "[" + string(stat[open+1:end]) + "]"
	if line, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && len(line) > 0 {
		command = strings.TrimRight(strings.ReplaceAll(string(line), "\x00", " "), " ")
	}
	return []string{
		owner(dir), strconv.Itoa(pid), f[1], strconv.Itoa(percent), startText(start, now), terminal(number(4)), clock(used), command,
	}, true
}

// owner is the name of a process's effective user on the host, or its number.
func owner(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return "?"
	}
	for line := range strings.SplitSeq(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, "Uid:"); ok {
			if f := strings.Fields(rest); len(f) > 1 {
				if u, err := user.LookupId(f[1]); err == nil {
					return u.Username
				}
				return f[1]
			}
		}
	}
	return "?"
}

func startText(start, now time.Time) string {
	if now.Sub(start) < 24*time.Hour {
		return start.Local().Format("15:04")
	}
	return start.Local().Format("Jan02")
}

func clock(d time.Duration) string {
	s := int(d.Seconds())
	return fmt.Sprintf("%02d:%02d:%02d", s/3600, s/60%60, s%60)
}

// terminal names a device number of proc(5) stat: major 136 to 143 are pseudo-terminals.
func terminal(dev int64) string {
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	if major >= 136 && major <= 143 {
		return "pts/" + strconv.FormatInt((major-136)<<8|minor, 10)
	}
	return "?"
}

func bootTime() time.Time {
	data, err := os.ReadFile("/proc/stat")
	if err == nil {
		for line := range strings.SplitSeq(string(data), "\n") {
			if text, ok := strings.CutPrefix(line, "btime "); ok {
				if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil {
					return time.Unix(n, 0)
				}
			}
		}
	}
	return time.Now()
}

var psPidOption = regexp.MustCompile(`\s+(-p|--pid|-q|--quick-pid)`)

// hostPS runs the host's ps with the client's arguments and keeps the container's processes. The arguments are
// never seen by a shell, and must not choose processes themselves.
func hostPS(ctx context.Context, args string, pids []int) (types.TopResponse, error) {
	none := types.TopResponse{}
	if psPidOption.MatchString(" " + args) {
		return none, errdefs.InvalidArgument("ps arguments %q: processes cannot be chosen, only columns", args)
	}
	out, err := exec.CommandContext(ctx, "ps", strings.Fields(args)...).Output()
	if err != nil {
		return none, errdefs.InvalidArgument("error running ps %s: %w", args, err)
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	titles := strings.Fields(lines[0])
	at := slices.Index(titles, "PID")
	if at < 0 {
		return none, errdefs.InvalidArgument("couldn't find PID field in ps output: choose columns with PID")
	}
	res := types.TopResponse{Titles: titles, Processes: [][]string{}}
	for _, line := range lines[1:] {
		f := strings.Fields(line)
		if len(f) <= at {
			continue
		}
		pid, err := strconv.Atoi(f[at])
		if err != nil || !slices.Contains(pids, pid) {
			continue
		}
		if len(f) > len(titles) {
			last := len(titles) - 1
			f = append(f[:last:last], strings.Join(f[last:], " "))
		}
		res.Processes = append(res.Processes, f)
	}
	return res, nil
}
