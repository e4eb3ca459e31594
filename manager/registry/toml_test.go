package registry

import (
	"fmt"
	"strings"
	"testing"
)

func TestTOML(t *testing.T) {
	entries, err := parseTOML("# head\nserver = 'https://a' # tail\r\n[host.\"https://b:5000/x\"]\n  a.b = [ [\"1\", '2',], # in between\n  \"\\u0041\\n\" ]\n  ok=true\n  n = -3\n")
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, e := range entries {
		got += fmt.Sprintf("%d %q=%v\n", e.line, e.path, e.value)
	}
	want := `2 ["server"]=https://a
3 ["host" "https://b:5000/x"]=<nil>
4 ["host" "https://b:5000/x" "a" "b"]=[[1 2] A
]
6 ["host" "https://b:5000/x" "ok"]=true
7 ["host" "https://b:5000/x" "n"]=-3
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	for text, want := range map[string]string{
		"a = 1\na = 2":                   "line 2: a is there twice",
		"[a]\n[a]":                       "line 2: a is there twice",
		"[[a]]":                          "arrays of tables",
		"a = {b = 1}":                    "inline tables",
		`a = """x"""`:                    "several lines",
		"a = 'x":                         "does not end",
		"a = \"x\ny\"":                   "does not end on its line",
		`a = "\q"`:                       "unknown escape",
		`a = "\ud800"`:                   "unknown escape",
		"a = https://b":                  "strings are in quotes",
		"a =":                            "a value is missing",
		"a = 1 b = 2":                    "something follows a",
		"= 1":                            "a key is missing",
		"[a":                             "']' is missing",
		"a = [1 2]":                      "',' or ']' is missing",
		"a = 1979-05-27":                 "is not a value",
		"a = '\xff'":                     "not UTF-8",
		"a = " + strings.Repeat("[", 99): "deep",
	} {
		if _, err := parseTOML(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// FuzzHosts: an administrator's file is read or refused, and what is read can be asked.
func FuzzHosts(f *testing.F) {
	f.Add("server = \"https://a\"\n[host.\"http://b/v2\"]\ncapabilities = [\"pull\"]\n[host.\"http://b/v2\".header]\nx = [\"y\"]\n")
	f.Add("[auth]\nusername = 'me'\npassword = \"\\U0001F600\"\nclient = [[\"a\", \"b\"]]")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "password_file") {
			return // it would be opened
		}
		hosts, err := parseHosts(text, "/nowhere", "x.example")
		if err != nil {
			return
		}
		if len(hosts) == 0 || hosts[len(hosts)-1].mirror {
			t.Fatal("the registry is not the last host")
		}
		for _, h := range hosts {
			if h.name == "" || strings.ContainsAny(h.name, "/@") || (h.scheme != "" && h.scheme != "http" && h.scheme != "https") {
				t.Errorf("host %+v", h)
			}
		}
	})
}
