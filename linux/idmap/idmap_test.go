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

func TestParse(t *testing.T) {
	m, err := Parse("         0     100000      65536\n     70000 7 1\n")
	if err != nil || string(m.Text()) != "0 100000 65536\n70000 7 1\n" {
		t.Errorf("%q, %v", m.Text(), err)
	}
	for _, bad := range []string{"0 1\n", "0 1 x\n", "0 1 4294967296\n"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("took %q", bad)
		}
	}
}
