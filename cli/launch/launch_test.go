package launch

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/conex-containers/conex/base/errdefs"
)

// The test program is its own engine when it is started as one.
func TestMain(m *testing.M) {
	if how := os.Getenv("FAKE_ENGINE"); how != "" {
		fakeEngine(how, os.Args[1])
		return
	}
	os.Exit(m.Run())
}

func fakeEngine(how, socket string) {
	if how == "dies late" {
		if _, err := net.Listen("unix", socket); err == nil {
			time.Sleep(100 * time.Millisecond)
		}
	}
	if strings.HasPrefix(how, "dies") {
		_, _ = fmt.Fprintln(os.Stderr, "conexd: data root is on fire")
		os.Exit(1)
	}
	if syscall.Getpgrp() != os.Getpid() {
		os.Exit(9) // it must be in a session of its own
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	l, err := net.Listen("unix", socket)
	if err != nil {
		os.Exit(2)
	}
	if how == "late" { // listens long before it serves
		time.Sleep(300 * time.Millisecond)
	}
	go func() {
		_ = http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	}()
	<-stop
	_ = l.Close()
}

func TestStartAndStop(t *testing.T) {
	for _, how := range []string{"prompt", "late"} {
		t.Setenv("FAKE_ENGINE", how)
		dir := t.TempDir()
		e := Engine{Program: os.Args[0], Args: []string{filepath.Join(dir, "e.sock")}, Socket: filepath.Join(dir, "e.sock"), Log: filepath.Join(dir, "log")}
		if _, err := Stop(t.Context(), e.Socket, time.Second); !errdefs.IsNotFound(err) {
			t.Errorf("stop of none: %v", err)
		}
		results := make(chan int, 4)
		for range 4 { // together they start one
			go func() {
				pid, err := Start(t.Context(), e)
				if err != nil {
					t.Error(err)
				}
				results <- pid
			}()
		}
		started := 0
		for range 4 {
			if pid := <-results; pid != 0 {
				if started != 0 {
					t.Errorf("two engines: %d and %d", started, pid)
				}
				started = pid
			}
		}
		if pid, err := PID(e.Socket); err != nil || pid != started || pid == 0 {
			t.Errorf("%s: PID %d %v, started %d", how, pid, err, started)
		}
		var status syscall.WaitStatus
		go func() { _, _ = syscall.Wait4(started, &status, 0, nil) }() // here it is our child; conex has ended by then
		if pid, err := Stop(t.Context(), e.Socket, 10*time.Second); err != nil || pid != started {
			t.Errorf("%s: stop %d %v", how, pid, err)
		}
	}
}

func TestStartTellsWhyAnEngineDied(t *testing.T) {
	for _, how := range []string{"dies", "dies late"} {
		t.Setenv("FAKE_ENGINE", how)
		dir := t.TempDir()
		e := Engine{Program: os.Args[0], Args: []string{filepath.Join(dir, "e.sock")}, Socket: filepath.Join(dir, "e.sock"), Log: filepath.Join(dir, "log")}
		if _, err := Start(context.Background(), e); err == nil || !strings.Contains(err.Error(), "data root is on fire") {
			t.Errorf("%s: %v", how, err)
		}
	}
}
