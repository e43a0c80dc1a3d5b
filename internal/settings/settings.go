// Package settings reads configuration into structs, from JSON objects and from
// the environment. It reports all errors at once, each with the key or the
// variable and with what is wanted, in words that need no knowledge of Go.
package settings

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"text/template"

	"github.com/kelseyhightower/envconfig"

	"github.com/ipfsmon/ipfsmon/internal/suggest"
)

// Field is one setting of a struct.
type Field struct {
	Key   string       // TCPServerConfig.ListenAddresses
	Env   string       // IPFSMON_TCP_LISTEN_ADDRESSES; "" if it has no variable
	Type  reflect.Type // of the value
	Owner reflect.Type // the struct that has the field
	Name  string       // of the field in it
}

// Fields lists the settings of a struct, including those of structs in it, in the
// order of the source. Names of variables are those of envconfig. The fields of a
// list of structs follow the list, with N for the index, as in Also.N.Name; they
// have no variables.
func Fields(t reflect.Type, prefix string) []Field {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var names strings.Builder
	out := fields(t, "", false)
	usage := template.Must(template.New("names").Parse("{{range .}}{{.Name}} {{.Key}}\n{{end}}"))
	if err := envconfig.Usaget(prefix, reflect.New(t).Interface(), &names, usage); err != nil {
		panic(err) // happens only if the argument is not a pointer to a struct
	}
	variables := strings.Fields(names.String())
	for i := range out {
		if f := &out[i]; f.Env == noVariable {
			f.Env = ""
		} else if len(variables) > 1 && variables[0] == f.Name {
			f.Env, variables = variables[1], variables[2:]
		}
	}
	return out
}

const noVariable = "-"

func fields(t reflect.Type, path string, inList bool) (out []Field) {
	for _, f := range keys(t) {
		name, typ, owner := jsonName(f), f.Type, t
		if embedded := f.Index[:len(f.Index)-1]; len(embedded) > 0 {
			owner = t.FieldByIndex(embedded).Type
		}
		for typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		one := Field{Key: path + name, Type: typ, Owner: owner, Name: f.Name}
		if inList {
			one.Env = noVariable
		}
		switch {
		case isObject(typ):
			out = append(out, fields(typ, path+name+".", inList)...)
		case typ.Kind() == reflect.Slice && isObject(typ.Elem()):
			out = append(append(out, one), fields(typ.Elem(), path+name+".N.", true)...)
		default:
			out = append(out, one)
		}
	}
	return out
}

// keys returns the fields of a struct that are settings, with those of an
// embedded struct in its place.
func keys(t reflect.Type) (all []reflect.StructField) {
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous && jsonName(f) != "" {
			all = append(all, f)
		}
	}
	return all
}

// jsonName returns the key of a field, "" if it has none.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || !f.IsExported() {
		return ""
	}
	if name == "" {
		return f.Name
	}
	return name
}

// isObject reports whether a type is read key by key.
func isObject(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]())
}

// Decode reads a JSON object, in the form in which encoding/json decodes it into
// an any, into the struct that into points to. Fields without a key keep their
// values. The case of keys is ignored. path is the prefix of keys in errors.
func Decode(path string, object any, into any) error {
	errs := decode(path, object, reflect.ValueOf(into))
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func decode(path string, x any, v reflect.Value) []error {
	t := v.Type()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if x == nil { // null: nil for a pointer, else unchanged
		if v.Kind() == reflect.Pointer && v.CanSet() || v.Kind() == reflect.Slice {
			v.SetZero()
		}
		return nil
	}
	switch {
	case isObject(t):
		object, ok := x.(map[string]any)
		if !ok {
			return []error{fmt.Errorf("%s: want an object, got %s", path, jsonKind(x))}
		}
		for v.Kind() == reflect.Pointer {
			if v.IsNil() {
				v.Set(reflect.New(v.Type().Elem()))
			}
			v = v.Elem()
		}
		return decodeObject(path, object, v)
	case t.Kind() == reflect.Slice && isObject(t.Elem()):
		list, ok := x.([]any)
		if !ok {
			return []error{fmt.Errorf("%s: want a list, got %s", path, jsonKind(x))}
		}
		var errs []error
		all := reflect.MakeSlice(t, len(list), len(list))
		for i, item := range list {
			errs = append(errs, decode(fmt.Sprintf("%s.%d", path, i), item, all.Index(i))...)
		}
		v.Set(all)
		return errs
	}
	b, err := json.Marshal(x)
	if err == nil {
		err = json.Unmarshal(b, v.Addr().Interface())
	}
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong):
		return []error{fmt.Errorf("%s: want %s, got %s", path, TypeName(t), jsonKind(x))}
	case err != nil:
		return []error{fmt.Errorf("%s: %w", path, err)}
	}
	return nil
}

func decodeObject(path string, object map[string]any, v reflect.Value) (errs []error) {
	var names []string
	known := keys(v.Type())
	for _, f := range known {
		names = append(names, jsonName(f))
	}
	for key, x := range object {
		i := slices.IndexFunc(names, func(n string) bool { return strings.EqualFold(n, key) })
		if i < 0 {
			errs = append(errs, fmt.Errorf("%s.%s: unknown key%s; want one of %s", path, key, suggest.DidYouMean(key, names, ""), strings.Join(names, ", ")))
			continue
		}
		errs = append(errs, decode(path+"."+names[i], x, v.FieldByIndex(known[i].Index))...)
	}
	return errs
}

func jsonKind(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case float64, json.Number, int:
		return "number"
	case bool:
		return "bool"
	case []any:
		return "array"
	}
	return "object"
}

// TypeName returns the name of a type for people who write configuration.
func TypeName(t reflect.Type) string {
	switch {
	case t.String() == "units.Bytes":
		return "a size"
	case t.Kind() == reflect.String:
		return "a string"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		return "an object"
	case t.Kind() == reflect.Float64:
		return "a number"
	}
	return "a whole number"
}

// FromEnv reads the variables with a prefix into the struct that into points to.
// Fields without a variable keep their values; a nil pointer stays nil unless a
// variable sets something in its struct. Errors do not quote values that may be
// secret: those of lists of objects.
func FromEnv(prefix string, into any) error {
	v := reflect.ValueOf(into).Elem()
	off := map[string]reflect.Value{} // by key: parts that envconfig makes though nothing sets them
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct && f.IsNil() && f.CanSet() {
			off[v.Type().Field(i).Name] = f
		}
	}
	byName := map[string]Field{}
	for _, f := range Fields(v.Type(), prefix) {
		byName[f.Env] = f
		if part, _, inside := strings.Cut(f.Key, "."); inside && f.Env != "" {
			if _, set := os.LookupEnv(f.Env); set {
				delete(off, part)
			}
		}
	}
	var errs []error
	for {
		err := envconfig.Process(prefix, into) // allocates every nil pointer, and stops at the first error
		var wrong *envconfig.ParseError
		if !errors.As(err, &wrong) {
			errs = append(errs, err)
			break
		}
		value := os.Getenv(wrong.KeyName)
		defer os.Setenv(wrong.KeyName, value) // restored when all are read
		os.Unsetenv(wrong.KeyName)
		f, ok := byName[wrong.KeyName]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s: %w", wrong.KeyName, wrong.Err))
		case strings.HasPrefix(wrong.Err.Error(), "want "): // an error of the type's own parser
			errs = append(errs, fmt.Errorf("%s: %w", wrong.KeyName, wrong.Err))
		case strings.Contains(wrong.Err.Error(), ": want "):
			errs = append(errs, fmt.Errorf("%s=%w", wrong.KeyName, wrong.Err))
		default:
			errs = append(errs, fmt.Errorf("%s=%q: want %s", wrong.KeyName, value, TypeName(f.Type)))
		}
	}
	for _, f := range off {
		f.SetZero()
	}
	return errors.Join(errs...)
}
