// Package schema is what a provider declares: the form in which the extractor writes it down and the
// stand-in serves it.
package schema

import (
	"encoding/json"
	"fmt"
	"os"
)

// Provider is one provider's whole schema.
type Provider struct {
	// Source says where it was read, for example "@cdktf/provider-aws 21.22.1".
	Source string `json:"source"`
	// Version of the real provider that it is the schema of.
	Version     string            `json:"version"`
	Config      *Block            `json:"config"`
	Resources   map[string]*Block `json:"resources"`
	DataSources map[string]*Block `json:"data_sources"`
}

// Block is the body of a resource, a data source, the provider, or a block inside one of them.
type Block struct {
	Attributes map[string]*Attribute `json:"attributes,omitempty"`
	Blocks     map[string]*Nested    `json:"blocks,omitempty"`
}

// Attribute is set as `name = value`.
type Attribute struct {
	// Type in Terraform's JSON form: "string", ["list","string"], ["object",{…}].
	Type     json.RawMessage `json:"type"`
	Required bool            `json:"required,omitempty"`
	// Optional attributes may be filled in by the provider when they are not set.
	Optional bool `json:"optional,omitempty"`
	// Computed attributes cannot be set.
	Computed bool `json:"computed,omitempty"`
	// Members are the attributes of the objects in Type, if it has any.
	Members map[string]*Attribute `json:"members,omitempty"`
	// Nested is single, list, set or map where the objects may leave their optional members out.
	Nested string `json:"nested,omitempty"`
}

// Nested is a block that stands in another one.
type Nested struct {
	// Nesting is list, set or single.
	Nesting string `json:"nesting"`
	// Single lists and sets hold one block at most.
	Single   bool   `json:"single,omitempty"`
	Required bool   `json:"required,omitempty"`
	Block    *Block `json:"block"`
}

// Load reads what the extractor wrote.
func Load(path string) (*Provider, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	provider := new(Provider)
	if err := json.Unmarshal(bytes, provider); err != nil {
		return nil, fmt.Errorf("%s is not a schema: %w", path, err)
	}
	return provider, nil
}
