// Package extract reads a provider's schema out of the npm package that the Terraform CDK generated from it.
//
// The generated code is regular, so it is read line by line. Per resource there is a class with a getter for
// each attribute, a method resetX for each that may be left out, a note "name - computed: …" at each that
// the provider fills in, and a function that says for each argument whether it is a block and of which kind.
// What is not of that form is an error, so that a package generated in another way is noticed.
//
// The package does not tell, and so the schema does not either: whether an optional plain attribute may be
// filled in by the provider (all are taken so), what is sensitive, what is deprecated, the bodies that refer
// to themselves (two rules of the web firewall; theirs are strings here), and the least and greatest number of blocks beyond
// "required" and "one at most".
package extract

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"strings"

	"mesos.test/standin/schema"
)

// Package reads the archive that `npm pack` made.
func Package(archive string) (*schema.Provider, error) {
	file, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", archive, err)
	}
	provider := &schema.Provider{Resources: map[string]*schema.Block{}, DataSources: map[string]*schema.Block{}}
	// A resource's files lie in one folder: index.js, and for the biggest index-structs/*.js.
	folders := map[string]*folder{}
	for entries := tar.NewReader(unzipped); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", archive, err)
		}
		switch parts := strings.Split(header.Name, "/"); {
		case header.Name == "package/package.json":
			if provider.Source, err = nameAndVersion(entries); err != nil {
				return nil, err
			}
		case path.Ext(header.Name) == ".js" && len(parts) >= 4 && parts[1] == "lib":
			if folders[parts[2]] == nil {
				folders[parts[2]] = newFolder()
			}
			text, err := io.ReadAll(entries)
			if err != nil {
				return nil, err
			}
			if err := folders[parts[2]].read(text); err != nil {
				return nil, fmt.Errorf("%s: %w", header.Name, err)
			}
		}
	}
	for name, folder := range folders {
		if err := folder.into(provider); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if provider.Config == nil || len(provider.Resources) == 0 || len(provider.DataSources) == 0 || provider.Version == "" {
		return nil, fmt.Errorf("%s has no provider, no resources or no data sources", archive)
	}
	return provider, nil
}

func nameAndVersion(text io.Reader) (string, error) {
	var about struct{ Name, Version string }
	if err := json.NewDecoder(text).Decode(&about); err != nil {
		return "", fmt.Errorf("package.json: %w", err)
	}
	return about.Name + " " + about.Version, nil
}

// A class of the generated code.
type class struct {
	kind      string // TerraformResource, ComplexObject, ComplexList, …
	terraform string // the type's name in Terraform, for resources and data sources
	getters   []*getter
	made      map[string]made // by field: a complex attribute's class
	resets    map[string]bool
	arguments []*argument
	item      string // of a ComplexList or ComplexMap: the class of its elements
}

// One `get name() { return …; }`.
type getter struct{ name, computed, returns string }

// One `this._field = new Class(this, "name", wrapsSet)`, with the note above it.
type made struct {
	class, name                            string
	many, set, computed, optional, require bool
}

// One entry of the function that writes HCL.
type argument struct {
	name, value, kind, class string
	block                    bool
}

type folder struct {
	classes   map[string]*class
	functions map[string][]*argument // by the class whose arguments they are, first letter small
	version   string
}

func newFolder() *folder {
	return &folder{classes: map[string]*class{}, functions: map[string][]*argument{}}
}

var (
	classLine    = regexp.MustCompile(`^class (\w+) extends cdktf\.(\w+) \{$`)
	functionLine = regexp.MustCompile(`^function (\w+)ToHclTerraform\(struct\) \{$`)
	typeLine     = regexp.MustCompile(`^(\w+)\.tfResourceType = "(\w+)";$`)
	versionLine  = regexp.MustCompile(`^\s+providerVersion: '([^']+)',$`)
	noteLine     = regexp.MustCompile(`^\s+// (\w+) - computed: (\w+), optional: (\w+), required: (\w+)$`)
	madeLine     = regexp.MustCompile(`^\s+this\.(_\w+) = new ([\w.]+)\(this, "(\w+)"(?:, (true|false))?\);$`)
	getLine      = regexp.MustCompile(`^    get (\w+)\(\) \{$`)
	returnLine   = regexp.MustCompile(`^        return (.+);$`)
	resetLine    = regexp.MustCompile(`^    reset(\w+)\(\) \{$`)
	itemLine     = regexp.MustCompile(`^        return new (\w+)\(this\.terraformResource`)
	entryLine    = regexp.MustCompile(`^\s+(\w+): \{$`)
	fieldLine    = regexp.MustCompile(`^\s+(value|isBlock|type|storageClassType): (.+),$`)
)

func (f *folder) read(text []byte) error {
	var (
		in       *class
		function string
		note     []string
		open     *getter
		entry    *argument
	)
	lines := bufio.NewScanner(bytes.NewReader(text))
	// The source map at the end of a file is one very long line.
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "//# ") {
			continue
		}
		if found := classLine.FindStringSubmatch(line); found != nil {
			in, function = &class{kind: found[2], made: map[string]made{}, resets: map[string]bool{}}, ""
			f.classes[found[1]] = in
			continue
		}
		if found := functionLine.FindStringSubmatch(line); found != nil {
			in, function = nil, found[1]
			f.functions[function] = nil
			continue
		}
		if found := typeLine.FindStringSubmatch(line); found != nil {
			if f.classes[found[1]] == nil {
				return fmt.Errorf("%s is a type, but no class is called so", found[1])
			}
			f.classes[found[1]].terraform = found[2]
			continue
		}
		if line == "}" {
			in, function = nil, ""
			continue
		}
		if in == nil && function == "" {
			continue
		}
		if found := entryLine.FindStringSubmatch(line); found != nil {
			entry = &argument{name: found[1]}
			continue
		}
		if found := fieldLine.FindStringSubmatch(line); found != nil && entry != nil {
			switch found[1] {
			case "value":
				entry.value = found[2]
			case "isBlock":
				entry.block = found[2] == "true"
			case "type":
				entry.kind = strings.Trim(found[2], `"`)
			case "storageClassType":
				entry.class = strings.Trim(found[2], `"`)
				if in != nil {
					in.arguments = append(in.arguments, entry)
				} else {
					f.functions[function] = append(f.functions[function], entry)
				}
				entry = nil
			}
			continue
		}
		if in == nil {
			continue
		}
		if found := versionLine.FindStringSubmatch(line); found != nil {
			f.version = found[1]
		} else if found := noteLine.FindStringSubmatch(line); found != nil {
			note = found
			continue
		} else if found := madeLine.FindStringSubmatch(line); found != nil {
			one := made{class: found[2], name: found[3], many: found[4] != "", set: found[4] == "true"}
			one.class = one.class[strings.LastIndex(one.class, ".")+1:]
			if note != nil && note[1] == one.name {
				one.computed, one.optional, one.require = note[2] == "true", note[3] == "true", note[4] == "true"
			} else {
				return fmt.Errorf("nothing says whether %s is computed", one.name)
			}
			in.made[found[1]] = one
		} else if found := getLine.FindStringSubmatch(line); found != nil {
			open = &getter{name: found[1]}
			if note != nil {
				open.computed = note[1]
			}
		} else if found := returnLine.FindStringSubmatch(line); found != nil && open != nil {
			open.returns = found[1]
			in.getters = append(in.getters, open)
			open = nil
		} else if found := resetLine.FindStringSubmatch(line); found != nil {
			in.resets[found[1]] = true
		}
		if found := itemLine.FindStringSubmatch(line); found != nil {
			in.item = found[1]
		}
		note = nil
	}
	return lines.Err()
}

func (f *folder) into(provider *schema.Provider) error {
	for name, class := range f.classes {
		var err error
		switch class.kind {
		case "TerraformProvider":
			provider.Config, err = f.block(class, f.settings(class))
			provider.Version = f.version
		case "TerraformResource":
			provider.Resources[class.terraform], err = f.block(class, f.settings(class))
		case "TerraformDataSource":
			provider.DataSources[class.terraform], err = f.block(class, f.settings(class))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (f *folder) settings(of *class) map[string]*argument { return byName(of.arguments) }

func byName(arguments []*argument) map[string]*argument {
	found := map[string]*argument{}
	for _, argument := range arguments {
		found[argument.name] = argument
	}
	return found
}

var (
	plainReturn   = regexp.MustCompile(`(?:get(\w+)Attribute|(interpolationFor)Attribute)\('(\w+)'\)`)
	complexReturn = regexp.MustCompile(`^this\.(_\w+)$`)
)

// The body of a class whose arguments are known.
func (f *folder) block(of *class, arguments map[string]*argument) (*schema.Block, error) {
	block := &schema.Block{Attributes: map[string]*schema.Attribute{}, Blocks: map[string]*schema.Nested{}}
	for _, getter := range of.getters {
		optional := of.resets[strings.ToUpper(getter.name[:1])+getter.name[1:]]
		if found := plainReturn.FindStringSubmatch(getter.returns); found != nil {
			name := found[3]
			attribute := &schema.Attribute{Type: plainType(found[1], getter.returns)}
			argument := arguments[name]
			switch {
			case argument != nil && argument.block:
				return nil, fmt.Errorf("%s is a block, but is read like an attribute", name)
			case argument != nil:
				attribute.Type = argumentType(argument, attribute.Type)
				if of.kind == "ComplexObject" && string(attribute.Type) == `"dynamic"` {
					// Terraform allows no values of any type in a set of blocks.
					attribute.Type = raw("string")
				}
				attribute.Required, attribute.Optional = !optional, optional
			case getter.computed == name:
				attribute.Computed = true
			default:
				return nil, fmt.Errorf("%s is neither an argument nor computed", name)
			}
			block.Attributes[name] = attribute
			continue
		}
		found := complexReturn.FindStringSubmatch(getter.returns)
		if found == nil {
			continue
		}
		one, isMade := of.made[found[1]]
		if !isMade {
			continue // xInput, or an attribute of the provider, which the arguments tell of
		}
		if err := f.complex(block, one, arguments[one.name]); err != nil {
			return nil, fmt.Errorf("%s: %w", one.name, err)
		}
	}
	if of.kind == "TerraformProvider" {
		return block, f.provider(block, arguments)
	}
	for name := range arguments {
		if block.Attributes[name] == nil && block.Blocks[name] == nil {
			return nil, fmt.Errorf("the argument %s has no getter", name)
		}
	}
	return block, nil
}

// A list, set, map or object: an attribute if the provider may fill it in, a block otherwise.
func (f *folder) complex(block *schema.Block, one made, argument *argument) error {
	switch one.class {
	case "StringMap", "NumberMap", "BooleanMap":
		element := map[string]string{"StringMap": "string", "NumberMap": "number", "BooleanMap": "bool"}[one.class]
		block.Attributes[one.name] = &schema.Attribute{
			Type: of("map", raw(element)), Required: one.require, Optional: one.optional, Computed: one.computed && !one.optional,
		}
		return nil
	}
	class := f.classes[one.class]
	if class == nil {
		return fmt.Errorf("there is no class %s", one.class)
	}
	nesting, element := "list", one.class
	switch {
	case class.kind == "ComplexList":
		if one.set {
			nesting = "set"
		}
		element = class.item
	case class.kind == "ComplexMap":
		nesting, element = "map", class.item
	case argument != nil && argument.kind == "struct":
		nesting = "single"
	case argument != nil && argument.kind == "set":
		nesting = "set"
	}
	body := f.classes[element]
	if body == nil {
		return fmt.Errorf("there is no class %s", element)
	}
	stem := strings.TrimSuffix(element, "OutputReference")
	arguments := byName(f.functions[strings.ToLower(stem[:1])+stem[1:]])
	inner, err := f.block(body, arguments)
	if err != nil {
		return err
	}
	// Of single bodies the timeouts are blocks; other providers than AWS's have attributes besides.
	isBlock := argument != nil && argument.block && !one.computed && nesting != "map" &&
		(nesting != "single" || one.name == "timeouts") && !strings.Contains(argument.value, "ToHclTerraform, false)")
	if isBlock {
		block.Blocks[one.name] = &schema.Nested{
			Nesting: nesting, Single: class.kind == "ComplexObject" && nesting != "single", Required: one.require, Block: inner,
		}
		return nil
	}
	members, object := f.object(inner)
	kind := object
	if nesting != "single" {
		kind = of(nesting, object)
	}
	attribute := &schema.Attribute{
		Type: kind, Required: one.require, Optional: one.optional, Computed: one.computed && !one.optional, Members: members,
	}
	if !one.computed {
		attribute.Nested = nesting
	}
	block.Attributes[one.name] = attribute
	return nil
}

// A body as an object's type. Inside an attribute there are no blocks, only attributes.
func (f *folder) object(body *schema.Block) (map[string]*schema.Attribute, json.RawMessage) {
	members, types := map[string]*schema.Attribute{}, map[string]json.RawMessage{}
	for name, attribute := range body.Attributes {
		members[name], types[name] = attribute, attribute.Type
	}
	for name, nested := range body.Blocks {
		inner, kind := f.object(nested.Block)
		if nested.Nesting != "single" {
			kind = of(nested.Nesting, kind)
		}
		members[name] = &schema.Attribute{Type: kind, Required: nested.Required, Optional: !nested.Required, Members: inner}
		types[name] = kind
	}
	written, _ := json.Marshal([]any{"object", types})
	return members, written
}

// The provider's own arguments have no classes for their blocks; all that they hold is optional.
func (f *folder) provider(block *schema.Block, arguments map[string]*argument) error {
	for name, argument := range arguments {
		if !argument.block {
			block.Attributes[name] = &schema.Attribute{Type: argumentType(argument, raw("string")), Optional: true}
			continue
		}
		stem := strings.TrimSuffix(argument.class, "List")
		inner := &schema.Block{Attributes: map[string]*schema.Attribute{}, Blocks: map[string]*schema.Nested{}}
		if err := f.provider(inner, byName(f.functions[strings.ToLower(stem[:1])+stem[1:]])); err != nil {
			return err
		}
		if len(inner.Attributes) == 0 {
			return fmt.Errorf("the block %s has no arguments", name)
		}
		if argument.kind == "struct" {
			members, object := f.object(inner)
			block.Attributes[name] = &schema.Attribute{Type: object, Optional: true, Members: members, Nested: "single"}
			continue
		}
		block.Blocks[name] = &schema.Nested{Nesting: argument.kind, Block: inner}
	}
	// cdktf adds it to every provider; Terraform has it as a word of its own.
	delete(block.Attributes, "alias")
	return nil
}

func raw(name string) json.RawMessage { return json.RawMessage(`"` + name + `"`) }

func of(kind string, element json.RawMessage) json.RawMessage {
	return json.RawMessage(`["` + kind + `",` + string(element) + `]`)
}

// The type of an attribute by how it is read.
func plainType(getter, returns string) json.RawMessage {
	list := "list"
	if strings.Contains(returns, "Fn.tolist(") {
		list = "set"
	}
	switch getter {
	case "String":
		return raw("string")
	case "Number":
		return raw("number")
	case "Boolean":
		return raw("bool")
	case "StringMap":
		return of("map", raw("string"))
	case "NumberMap":
		return of("map", raw("number"))
	case "BooleanMap":
		return of("map", raw("bool"))
	case "List":
		return of(list, raw("string"))
	case "NumberList":
		return of(list, raw("number"))
	}
	return raw("dynamic")
}

// The type of an argument by how it is written, which tells more than how it is read.
func argumentType(argument *argument, otherwise json.RawMessage) json.RawMessage {
	list := "list"
	if argument.kind == "set" {
		list = "set"
	}
	switch argument.class {
	case "string", "number":
		return raw(argument.class)
	case "boolean":
		return raw("bool")
	case "stringList":
		return of(list, raw("string"))
	case "numberList":
		return of(list, raw("number"))
	case "stringMap":
		return of("map", raw("string"))
	case "numberMap":
		return of("map", raw("number"))
	case "booleanMap":
		return of("map", raw("bool"))
	case "stringListList":
		return of(list, of("list", raw("string")))
	case "stringMapList":
		return of(list, of("map", raw("string")))
	case "stringMapMap":
		return of("map", of("map", raw("string")))
	case "any":
		return raw("dynamic")
	}
	return otherwise
}
