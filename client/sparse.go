package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// sparse encodes a struct as JSON without its zero fields. encoding/json would first compile an encoder for each of
// the hundred field types of a create request, which costs a short-lived program more than all else it computes; and
// the engine reads what is left in a fraction of the time. An absent field and a zero one mean the same to an engine.
func sparse(v any) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	if err := sparseFields(&b, reflect.ValueOf(v)); err != nil {
		return nil, err
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// sparseFields writes the fields of a struct, those of embedded structs among them.
func sparseFields(b *bytes.Buffer, v reflect.Value) error {
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	t := v.Type()
	for i := range t.NumField() {
		f, fv := t.Field(i), v.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if fv.IsZero() || !f.IsExported() || name == "-" {
			continue
		}
		if f.Anonymous && name == "" {
			if err := sparseFields(b, fv); err != nil {
				return err
			}
			continue
		}
		if name == "" {
			name = f.Name
		}
		if err := sparseField(b, name, fv); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func sparseField(b *bytes.Buffer, name string, v reflect.Value) error {
	if b.Len() > 1 && b.Bytes()[b.Len()-1] != '{' {
		b.WriteByte(',')
	}
	b.WriteString(`"` + name + `":`)
	if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct && !v.Type().Implements(reflect.TypeFor[json.Marshaler]()) {
		b.WriteByte('{')
		err := sparseFields(b, v)
		b.WriteByte('}')
		return err
	}
	raw, err := json.Marshal(v.Interface())
	b.Write(raw)
	return err
}
