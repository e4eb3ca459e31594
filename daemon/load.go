package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"
	"strings"

	"github.com/spf13/pflag"

	"github.com/conex-containers/conex/base/errdefs"
)

// ErrHelp is returned by Load when the user asked for help, which was then written to usage.
var ErrHelp = pflag.ErrHelp

// Load reads the flags and the configuration file that they name into one Config: the file wins over the defaults,
// the flags stand beside the file, and an option in both is an error, as in dockerd.
func Load(args []string) (*Config, error) {
	flags, file := defaults(), defaults()
	fset := flagSet(flags)
	if err := fset.Parse(args); err != nil {
		return nil, flagError(err)
	}
	if fset.NArg() > 0 {
		return nil, errdefs.InvalidArgument("conexd takes no argument %q: see conexd --help", fset.Arg(0))
	}
	named := fset.Changed("config-file")
	set, err := readFile(flags.ConfigFile, named, file)
	if err != nil {
		return nil, err
	}
	if err := conflicts(fset, set); err != nil {
		return nil, fmt.Errorf("configuration file %s: %w", flags.ConfigFile, err)
	}
	// The flags go over the file: each flag that was given is set once more, on the file's Config.
	again := flagSet(file)
	if err := again.Parse(args); err != nil {
		return nil, flagError(err)
	}
	if err := file.complete(); err != nil {
		return nil, err
	}
	return file, file.validate()
}

// flagSet makes a flag for every row of the table that has one, bound to c.
func flagSet(c *Config) *pflag.FlagSet {
	fset := pflag.NewFlagSet("conexd", pflag.ContinueOnError)
	fset.SortFlags = true
	fset.SetOutput(os.Stderr)
	fset.Usage = func() {}
	for i := range options {
		o := &options[i]
		if o.flag == "" {
			continue
		}
		var v value = refused{o}
		if o.value != nil {
			v = o.value(c)
		}
		f := fset.VarPF(v, o.flag, o.short, o.usage)
		f.Hidden = o.value == nil
		if v.Type() == "bool" {
			f.NoOptDefVal = "true"
		}
	}
	return fset
}

// Usage is the text of conexd --help.
func Usage() string {
	var b strings.Builder
	b.WriteString("Usage: conexd [FLAGS]\n       conexd debug audit [--data-root DIR] [--exec-root DIR] [--json]\n       conexd debug fsck [--repair] [--data-root DIR] [--exec-root DIR] [--json]\n" +
		"       conexd debug uninstall [--data-root DIR] [--exec-root DIR]\n\n" +
		"The Conex daemon. Every flag but --config-file, --validate and the proxies is also a key of " + DefaultConfigFile + ".\n\n")
	b.WriteString(flagSet(defaults()).FlagUsages())
	b.WriteString("  -v, --version                    print the version and exit\n")
	return b.String()
}

// refused is the value of an option that dockerd has and Conex does not.
type refused struct{ o *option }

func (r refused) String() string { return "" }
func (r refused) Type() string {
	if switches[r.o.flag] {
		return "bool"
	}
	return "string"
}
func (r refused) Set(text string) error {
	if text == r.o.harmless && text != "" {
		return nil
	}
	return notYet(r.o)
}
func (r refused) SetJSON(raw json.RawMessage) error {
	text := strings.Trim(string(raw), `"`)
	if text == r.o.harmless || text == "" || text == "null" {
		return nil
	}
	return notYet(r.o)
}

func notYet(o *option) error {
	err := errdefs.NotImplemented("dockerd has this option, Conex does not implement it yet: remove it")
	if o.harmless != "" && o.harmless != "[]" && o.harmless != "{}" {
		err = errdefs.NotImplemented("dockerd has this option, Conex does not implement it yet: remove it, or set it to %s", o.harmless)
	}
	return err
}

// flagError names the nearest flag of an unknown one.
func flagError(err error) error {
	var unknown *pflag.NotExistError
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if errors.As(err, &unknown) && len(unknown.GetSpecifiedName()) > 1 {
		var names []string
		for _, o := range options {
			if o.flag != "" {
				names = append(names, "--"+o.flag)
			}
		}
		return errdefs.InvalidArgument("flag --%s is not known%s: see conexd --help", unknown.GetSpecifiedName(),
			didYouMean("--"+unknown.GetSpecifiedName(), names))
	}
	return errdefs.InvalidArgument("%w", err)
}

// readFile reads the configuration file into c and tells which keys it set, by flag name where there is one. A
// missing file is an empty one unless it was asked for by name.
func readFile(path string, named bool, c *Config) (map[string]string, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, errdefs.InvalidArgument("configuration file: %w", err)
	}
	set, err := parseFile(raw, c)
	if err != nil {
		return nil, errdefs.InvalidArgument("configuration file %s: %w", path, err)
	}
	return set, nil
}

func parseFile(raw []byte, c *Config) (map[string]string, error) {
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, nil
	}
	var object map[string]json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&object); err != nil {
		return nil, position(raw, dec.InputOffset(), err)
	}
	if dec.More() {
		return nil, errors.New("something follows the closing brace")
	}
	byKey, names := map[string]*option{}, []string{}
	for i := range options {
		if o := &options[i]; o.key != "" {
			byKey[o.key] = o
			names = append(names, o.key)
		}
	}
	keys := make([]string, 0, len(object))
	for key := range object {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	set := map[string]string{}
	for _, key := range keys {
		o := byKey[key]
		if o == nil {
			return nil, fmt.Errorf("key %q is not known%s", key, didYouMean(key, names))
		}
		var v value = refused{o}
		if o.value != nil {
			v = o.value(c)
		}
		if err := v.SetJSON(object[key]); err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
		set[key] = v.String()
	}
	return set, nil
}

// position puts the line of a syntax error in front of it.
func position(raw []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	offset = min(max(offset, 0), int64(len(raw)))
	return fmt.Errorf("line %d: %w", 1+bytes.Count(raw[:max(offset-1, 0)], []byte("\n")), err)
}

// conflicts refuses options that are in the file and on the command line.
func conflicts(fset *pflag.FlagSet, set map[string]string) error {
	var both []string
	for _, o := range options {
		if o.flag == "" || o.key == "" || !fset.Changed(o.flag) {
			continue
		}
		if inFile, ok := set[o.key]; ok {
			both = append(both, fmt.Sprintf("%s: (from flag: %s, from file: %s)", o.key, fset.Lookup(o.flag).Value, inFile))
		}
	}
	if len(both) == 0 {
		return nil
	}
	return errdefs.InvalidArgument("the following directives are specified both as a flag and in the configuration file: %s", strings.Join(both, ", "))
}
