package container

import (
	"time"

	types "github.com/moby/moby/api/types/container"
)

// The back-off of restarts: it doubles from the first to the longest, and a run that lasted resets it.
const (
	firstBackoff   = 100 * time.Millisecond
	longestBackoff = time.Minute
	lastingRun     = 10 * time.Second
)

// nextBackoff is how long to wait before the restart after a run of the given length; before is the last wait, 0 at
// first.
func nextBackoff(before, ran time.Duration) time.Duration {
	if before == 0 || ran >= lastingRun {
		return firstBackoff
	}
	return min(2*before, longestBackoff)
}

// wantsRestart decides by the policy after an exit; restarts is how often it was restarted already.
func wantsRestart(p types.RestartPolicy, code, restarts int, manuallyStopped bool) bool {
	if manuallyStopped {
		return false
	}
	switch p.Name {
	case types.RestartPolicyAlways, types.RestartPolicyUnlessStopped:
		return true
	case types.RestartPolicyOnFailure:
		return code != 0 && (p.MaximumRetryCount == 0 || restarts < p.MaximumRetryCount)
	}
	return false
}

// wantsBoot decides whether a container is started when the engine starts: always, and what ran when it ended.
func wantsBoot(r *Record) bool {
	switch p := r.HostConfig.RestartPolicy; p.Name {
	case types.RestartPolicyAlways:
		return r.HasStarted
	case types.RestartPolicyUnlessStopped:
		return r.HasStarted && !r.ManuallyStopped
	case types.RestartPolicyOnFailure:
		return r.ShouldRun && wantsRestart(p, r.ExitCode, r.RestartCount, r.ManuallyStopped)
	}
	return false
}
