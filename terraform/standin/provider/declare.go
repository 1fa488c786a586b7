package provider

import (
	"encoding/json"
	"fmt"
	"sort"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"mesos.test/standin/schema"
)

func declare(block *schema.Block) *tfprotov6.Schema {
	return &tfprotov6.Schema{Block: declareBlock(block)}
}

func declareBlock(block *schema.Block) *tfprotov6.SchemaBlock {
	declared := new(tfprotov6.SchemaBlock)
	for _, name := range sorted(block.Attributes) {
		declared.Attributes = append(declared.Attributes, declareAttribute(name, block.Attributes[name]))
	}
	for _, name := range sorted(block.Blocks) {
		nested := block.Blocks[name]
		one := &tfprotov6.SchemaNestedBlock{TypeName: name, Block: declareBlock(nested.Block), Nesting: nesting(nested.Nesting)}
		if nested.Required {
			one.MinItems = 1
		}
		if nested.Single {
			one.MaxItems = 1
		}
		declared.BlockTypes = append(declared.BlockTypes, one)
	}
	return declared
}

func declareAttribute(name string, attribute *schema.Attribute) *tfprotov6.SchemaAttribute {
	declared := &tfprotov6.SchemaAttribute{
		Name:      name,
		Required:  attribute.Required,
		Optional:  attribute.Optional,
		Computed:  attribute.Computed || attribute.Optional && attribute.Nested == "" && !isWriteOnly(name, attribute),
		WriteOnly: isWriteOnly(name, attribute),
	}
	if attribute.Nested == "" {
		declared.Type = typeOf(attribute.Type)
		return declared
	}
	declared.NestedType = &tfprotov6.SchemaObject{Nesting: attributeNesting(attribute.Nested)}
	for _, member := range sorted(attribute.Members) {
		inner := declareAttribute(member, attribute.Members[member])
		inner.WriteOnly = declared.WriteOnly
		inner.Computed = inner.Computed && !declared.WriteOnly && !inner.Optional
		declared.NestedType.Attributes = append(declared.NestedType.Attributes, inner)
	}
	return declared
}

func attributeNesting(name string) tfprotov6.SchemaObjectNestingMode {
	switch name {
	case "set":
		return tfprotov6.SchemaObjectNestingModeSet
	case "map":
		return tfprotov6.SchemaObjectNestingModeMap
	case "single":
		return tfprotov6.SchemaObjectNestingModeSingle
	}
	return tfprotov6.SchemaObjectNestingModeList
}

func nesting(name string) tfprotov6.SchemaNestedBlockNestingMode {
	switch name {
	case "set":
		return tfprotov6.SchemaNestedBlockNestingModeSet
	case "single":
		return tfprotov6.SchemaNestedBlockNestingModeSingle
	}
	return tfprotov6.SchemaNestedBlockNestingModeList
}

// The type of a whole body.
func objectType(block *schema.Block) tftypes.Object {
	types := map[string]tftypes.Type{}
	for name, attribute := range block.Attributes {
		types[name] = typeOf(attribute.Type)
	}
	for name, nested := range block.Blocks {
		inner := objectType(nested.Block)
		switch nested.Nesting {
		case "set":
			types[name] = tftypes.Set{ElementType: inner}
		case "single":
			types[name] = inner
		default:
			types[name] = tftypes.List{ElementType: inner}
		}
	}
	return tftypes.Object{AttributeTypes: types}
}

// A type from Terraform's JSON form. The extractor wrote it, so a fault in it is a fault of this program.
func typeOf(written json.RawMessage) tftypes.Type {
	var name string
	if json.Unmarshal(written, &name) == nil {
		switch name {
		case "string":
			return tftypes.String
		case "number":
			return tftypes.Number
		case "bool":
			return tftypes.Bool
		case "dynamic":
			return tftypes.DynamicPseudoType
		}
	}
	var parts []json.RawMessage
	if json.Unmarshal(written, &parts) == nil && len(parts) == 2 && json.Unmarshal(parts[0], &name) == nil {
		switch name {
		case "list":
			return tftypes.List{ElementType: typeOf(parts[1])}
		case "set":
			return tftypes.Set{ElementType: typeOf(parts[1])}
		case "map":
			return tftypes.Map{ElementType: typeOf(parts[1])}
		case "object":
			var members map[string]json.RawMessage
			if json.Unmarshal(parts[1], &members) == nil {
				types := map[string]tftypes.Type{}
				for member, kind := range members {
					types[member] = typeOf(kind)
				}
				return tftypes.Object{AttributeTypes: types}
			}
		}
	}
	panic(fmt.Sprintf("%s is not a type", written))
}

func sorted[T any](of map[string]T) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
