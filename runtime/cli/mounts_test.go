package cli

import "testing"

func TestParseMounts(t *testing.T) {
	for text, want := range map[string]int{
		`[{"destination":"/a"},{"destination":"/b","type":"tmpfs"}]`: 2,
		` {"destination":"/a"}`: 1, `[]`: 0, `{`: 0, ``: 0, `"x"`: 0,
	} {
		list, err := parseMounts([]byte(text))
		if (err == nil) != (want > 0) || (err == nil && len(list) != want) {
			t.Errorf("%s: %v, %v", text, list, err)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add([]byte(`[{"destination":"/a","options":["ro"]}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if list, err := parseMounts(b); err == nil && len(list) == 0 {
			t.Fatalf("%q: nothing without an error", b)
		}
	})
}
