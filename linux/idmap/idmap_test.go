package idmap

import "testing"

func TestHost(t *testing.T) {
	m := Map{{ContainerID: 0, HostID: 100000, Size: 10}, {ContainerID: 4294967290, HostID: 5, Size: 5}}
	if got, err := m.Host(9); err != nil || got != 100009 {
		t.Fatalf("Host(9) = %d, %v", got, err)
	}
	if got, err := m.Host(4294967294); err != nil || got != 9 {
		t.Fatalf("Host(4294967294) = %d, %v", got, err)
	}
	if _, err := m.Host(10); err == nil {
		t.Fatal("10 is not mapped")
	}
	if got := string(m[:1].Text()); got != "0 100000 10\n" {
		t.Fatalf("Text = %q", got)
	}
}
