package provider

import (
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"mesos.test/standin/schema"
)

// Optional arguments that the real provider fills in wherever they are left out. For others the schema does
// not tell, and they stay empty.
var filledIn = map[string]bool{
	"arn": true, "availability_zone": true, "bucket": true, "id": true, "name": true, "private_ip": true,
}

// What a body becomes: what is written, what was there before, and unknown where the provider has the word.
func (p *Provider) plan(block *schema.Block, config, prior tftypes.Value) (tftypes.Value, error) {
	written, before, planned := map[string]tftypes.Value{}, map[string]tftypes.Value{}, map[string]tftypes.Value{}
	if err := config.As(&written); err != nil {
		return config, err
	}
	if !prior.IsNull() && prior.IsKnown() {
		if err := prior.As(&before); err != nil {
			return config, err
		}
	}
	for name, attribute := range block.Attributes {
		planned[name] = planAttribute(name, attribute, written[name], before)
	}
	// Every resource has a region, and tags_all is its tags with the provider's.
	if region, has := planned["region"]; has && text(region) == "" && region.IsKnown() {
		planned["region"] = tftypes.NewValue(tftypes.String, p.region)
	}
	if all, has := planned["tags_all"]; has {
		planned["tags_all"] = p.allTags(all.Type(), written["tags"])
	}
	for name, nested := range block.Blocks {
		inner, err := p.planNested(nested, written[name], before[name])
		if err != nil {
			return config, err
		}
		planned[name] = inner
	}
	return tftypes.NewValue(config.Type(), planned), nil
}

func planAttribute(name string, attribute *schema.Attribute, written tftypes.Value, before map[string]tftypes.Value) tftypes.Value {
	old, existed := before[name]
	fills := attribute.Computed || attribute.Optional && filledIn[name]
	switch {
	case isWriteOnly(name, attribute):
		return tftypes.NewValue(written.Type(), nil)
	case !written.IsNull():
		return written
	case fills && existed:
		return old
	case fills:
		return tftypes.NewValue(written.Type(), tftypes.UnknownValue)
	}
	return written
}

func (p *Provider) allTags(kind tftypes.Type, tags tftypes.Value) tftypes.Value {
	if !tags.IsKnown() {
		return tftypes.NewValue(kind, tftypes.UnknownValue)
	}
	all := map[string]tftypes.Value{}
	for name, value := range p.defaultTags {
		all[name] = value
	}
	for name, value := range elements(tags) {
		all[name] = value
	}
	return tftypes.NewValue(kind, all)
}

func (p *Provider) planNested(nested *schema.Nested, written, before tftypes.Value) (tftypes.Value, error) {
	if written.IsNull() || !written.IsKnown() {
		return written, nil
	}
	inner := objectType(nested.Block)
	if nested.Nesting == "single" {
		if before.IsNull() || !before.IsKnown() {
			before = tftypes.NewValue(inner, nil)
		}
		return p.plan(nested.Block, written, before)
	}
	var bodies, olds []tftypes.Value
	if err := written.As(&bodies); err != nil {
		return written, err
	}
	if !before.IsNull() && before.IsKnown() {
		if err := before.As(&olds); err != nil {
			return written, err
		}
	}
	for at, body := range bodies {
		old := tftypes.NewValue(inner, nil)
		for _, one := range olds {
			if agrees(body, one) {
				old = one
				break
			}
		}
		planned, err := p.plan(nested.Block, body, old)
		if err != nil {
			return written, err
		}
		bodies[at] = planned
	}
	return tftypes.NewValue(written.Type(), bodies), nil
}

// Whether a body that was made of `before` is written as `written` still is: what is written in it is the same.
func agrees(written, before tftypes.Value) bool {
	if written.IsNull() {
		return true
	}
	if !written.IsKnown() || before.IsNull() || !before.IsKnown() {
		return false
	}
	if !written.Type().Is(tftypes.Object{}) {
		return written.Equal(before)
	}
	mine, theirs := map[string]tftypes.Value{}, map[string]tftypes.Value{}
	if written.As(&mine) != nil || before.As(&theirs) != nil {
		return false
	}
	for name, value := range mine {
		if !agrees(value, theirs[name]) {
			return false
		}
	}
	return true
}
