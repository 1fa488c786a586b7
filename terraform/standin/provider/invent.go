package provider

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

const account = "123456789012"

// Two resources that are written alike are two all the same.
var counter atomic.Uint64

// Puts made-up values where a plan has unknown ones.
func (p *Provider) makeUp(resource string, planned tftypes.Value) (tftypes.Value, error) {
	seed := fmt.Sprintf("%s/%d/%s", resource, counter.Add(1), planned.String())
	hash := sha256.Sum256([]byte(seed))
	mark := hex.EncodeToString(hash[:])[:17]
	return tftypes.Transform(planned, func(path *tftypes.AttributePath, value tftypes.Value) (tftypes.Value, error) {
		if value.IsKnown() {
			return value, nil
		}
		return p.invent(strings.TrimPrefix(resource, "aws_"), lastName(path), mark, value.Type()), nil
	})
}

func lastName(path *tftypes.AttributePath) string {
	steps := path.Steps()
	for at := len(steps) - 1; at >= 0; at-- {
		if name, is := steps[at].(tftypes.AttributeName); is {
			return string(name)
		}
	}
	return ""
}

func (p *Provider) invent(resource, name, mark string, kind tftypes.Type) tftypes.Value {
	switch kind := kind.(type) {
	case tftypes.Object:
		members := map[string]tftypes.Value{}
		for member, inner := range kind.AttributeTypes {
			members[member] = p.invent(resource, member, mark, inner)
		}
		return tftypes.NewValue(kind, members)
	case tftypes.List:
		return tftypes.NewValue(kind, p.one(resource, name, mark, kind.ElementType))
	case tftypes.Set:
		return tftypes.NewValue(kind, p.one(resource, name, mark, kind.ElementType))
	case tftypes.Map:
		return tftypes.NewValue(kind, map[string]tftypes.Value{})
	}
	switch {
	case kind.Is(tftypes.Number):
		return tftypes.NewValue(kind, 1)
	case kind.Is(tftypes.Bool):
		return tftypes.NewValue(kind, false)
	case kind.Is(tftypes.String):
		return tftypes.NewValue(kind, p.word(resource, name, mark))
	}
	return tftypes.NewValue(tftypes.String, "")
}

func (p *Provider) one(resource, name, mark string, element tftypes.Type) []tftypes.Value {
	return []tftypes.Value{p.invent(resource, name, mark, element)}
}

func (p *Provider) word(resource, name, mark string) string {
	dashed := strings.ReplaceAll(resource, "_", "-")
	switch {
	case name == "arn" || strings.HasSuffix(name, "_arn"):
		return fmt.Sprintf("arn:aws:%s:%s:%s:%s/%s", strings.SplitN(resource, "_", 2)[0], p.region, account, dashed, mark)
	case name == "id" || strings.HasSuffix(name, "_id"):
		return dashed + "-" + mark
	case strings.Contains(name, "ip") && strings.HasSuffix(name, "ip"):
		return "10.255.0.10"
	case strings.Contains(name, "dns") || strings.Contains(name, "address"):
		return fmt.Sprintf("%s-%s.%s.example", dashed, mark, p.region)
	case strings.Contains(name, "endpoint") || strings.Contains(name, "issuer") || strings.Contains(name, "url"):
		return fmt.Sprintf("https://%s-%s.%s.example", dashed, mark, p.region)
	case name == "data":
		return "c3RhbmQtaW4="
	}
	return name + "-" + mark
}
