package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// helpers are the programs that stay beside a container, by the engine.
var helpers = map[string]string{"docker/conexd": "conex-shim", "docker/dockerd": "containerd-shim", "podman+crun": "conmon"}

// settling is how long idle helpers get to come to rest.
const settling = 5 * time.Second

// resting measures the memory of the helpers of idle containers: the proportional and the private part of each
// (PSS, USS of proc_pid_smaps_rollup(5)), the median of all.
func (b *bench) resting([]row) error {
	engines, err := b.need("docker/conexd", "docker/dockerd", "podman+crun")
	if err != nil {
		return err
	}
	for _, e := range engines {
		pss, uss, rss, err := e.rest(b.idle)
		if err != nil {
			return err
		}
		mb := func(kb int) string { return fmt.Sprintf("%.2f", float64(kb)/1024) }
		b.memory = append(b.memory, []string{strconv.Itoa(b.idle), helpers[e.name], mb(pss), mb(uss), mb(rss)})
	}
	return nil
}

func (e *engine) rest(n int) (pss, uss, rss int, err error) {
	name := func(i int) string { return "idle" + strconv.Itoa(i) }
	for i := range n {
		if err := e.do(docker("run", "-d", "--name", name(i), "--network", "none", image, "sleep", "100000")(e)); err != nil {
			return 0, 0, 0, err
		}
	}
	time.Sleep(settling)
	var all [3][]int
	if err := e.eachHelper(func(pid string) error {
		m, err := memory(pid)
		for i := range all {
			all[i] = append(all[i], m[i])
		}
		return err
	}); err != nil {
		return 0, 0, 0, err
	}
	if len(all[0]) < n { // dockerd may still have one that is ending
		return 0, 0, 0, fmt.Errorf("%s: %d helpers %s for %d containers", e.name, len(all[0]), helpers[e.name], n)
	}
	for i := range n {
		if err := e.do(docker("rm", "-f", name(i))(e)); err != nil {
			return 0, 0, 0, err
		}
	}
	return middle(all[0]), middle(all[1]), middle(all[2]), nil
}

// eachHelper calls f for every helper process in the engine's control group.
func (e *engine) eachHelper(f func(pid string) error) error {
	return filepath.WalkDir(filepath.Join(cpuacct, e.group), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, pid := range strings.Fields(string(b)) {
			comm, err := os.ReadFile("/proc/" + pid + "/comm")
			if err != nil || !strings.HasPrefix(helpers[e.name], strings.TrimSpace(string(comm))) {
				continue // gone, or another program
			}
			if err := f(pid); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

func middle(list []int) int {
	slices.Sort(list)
	return list[len(list)/2]
}

// memory is PSS, USS and RSS of a process in KB.
func memory(pid string) (m [3]int, err error) {
	b, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.Atoi(f[1])
		switch f[0] {
		case "Pss:":
			m[0] = n
		case "Private_Clean:", "Private_Dirty:":
			m[1] += n
		case "Rss:":
			m[2] = n
		}
	}
	return m, nil
}
