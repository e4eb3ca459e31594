package vm

import (
	"strings"
	"testing"
	"time"
)

// A job that does not end, a status other than 0 and a machine that dies are all seen.
func TestParseConsole(t *testing.T) {
	results, kernel, done := parse("boot\r\n" + Begin + "a\r\n" + Prefix + "one\r\n" + End + "a 3 1500\r\n" + Begin + "b\n" + Prefix + "two\nKernel panic\n")
	if done || len(results) != 2 || !strings.Contains(kernel, "Kernel panic") {
		t.Fatalf("%v %q %v", results, kernel, done)
	}
	if a := results[0]; !a.Ended || a.Status != 3 || a.Output != "one\n" || a.Time != 1500*time.Millisecond {
		t.Errorf("%+v", a)
	}
	if b := results[1]; b.Ended || b.Status != -1 || b.Output != "two\n" {
		t.Errorf("%+v", b)
	}
	if _, _, done := parse(Done + "\n"); !done {
		t.Error("the end is not seen")
	}
}
