// Package provider answers Terraform as the real provider would, as far as the schema tells.
//
// It plans what is computed as unknown, and applies by making values up. It knows nothing that only AWS or
// the real provider's code knows: which changes replace a resource, which values AWS would refuse, what
// belongs together. A configuration that it takes has the right names and types, and nothing more is proven.
package provider

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"mesos.test/standin/schema"
)

// Provider is one run of the stand-in.
type Provider struct {
	// What no configuration here uses (functions, ephemeral resources, imports, …) is not there.
	tfprotov6.ProviderServer

	declared    *schema.Provider
	region      string
	defaultTags map[string]tftypes.Value
}

// New serves a schema.
func New(declared *schema.Provider) *Provider { return &Provider{declared: declared} }

func (p *Provider) GetMetadata(context.Context, *tfprotov6.GetMetadataRequest) (*tfprotov6.GetMetadataResponse, error) {
	answer := &tfprotov6.GetMetadataResponse{ServerCapabilities: capabilities}
	for name := range p.declared.Resources {
		answer.Resources = append(answer.Resources, tfprotov6.ResourceMetadata{TypeName: name})
	}
	for name := range p.declared.DataSources {
		answer.DataSources = append(answer.DataSources, tfprotov6.DataSourceMetadata{TypeName: name})
	}
	return answer, nil
}

var capabilities = &tfprotov6.ServerCapabilities{GetProviderSchemaOptional: true}

func (p *Provider) GetProviderSchema(context.Context, *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	answer := &tfprotov6.GetProviderSchemaResponse{
		ServerCapabilities: capabilities,
		Provider:           declare(p.declared.Config),
		ResourceSchemas:    map[string]*tfprotov6.Schema{},
		DataSourceSchemas:  map[string]*tfprotov6.Schema{},
	}
	for name, block := range p.declared.Resources {
		answer.ResourceSchemas[name] = declare(block)
	}
	for name, block := range p.declared.DataSources {
		answer.DataSourceSchemas[name] = declare(block)
	}
	return answer, nil
}

func (p *Provider) GetResourceIdentitySchemas(context.Context, *tfprotov6.GetResourceIdentitySchemasRequest) (*tfprotov6.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov6.GetResourceIdentitySchemasResponse{}, nil
}

func (p *Provider) GetFunctions(context.Context, *tfprotov6.GetFunctionsRequest) (*tfprotov6.GetFunctionsResponse, error) {
	return &tfprotov6.GetFunctionsResponse{}, nil
}

func (p *Provider) ValidateProviderConfig(_ context.Context, request *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return &tfprotov6.ValidateProviderConfigResponse{PreparedConfig: request.Config}, nil
}

func (p *Provider) ConfigureProvider(_ context.Context, request *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	config, err := fields(request.Config, p.declared.Config)
	if err != nil {
		return nil, err
	}
	p.region = text(config["region"])
	if p.region == "" {
		p.region = os.Getenv("AWS_REGION")
	}
	if _, wants := config["region"]; wants && p.region == "" {
		return &tfprotov6.ConfigureProviderResponse{Diagnostics: complaint("Missing region",
			"The provider needs a region: set it in its configuration or in AWS_REGION.")}, nil
	}
	var blocks []tftypes.Value
	if config["default_tags"].IsKnown() && !config["default_tags"].IsNull() {
		if err := config["default_tags"].As(&blocks); err != nil {
			return nil, err
		}
	}
	for _, block := range blocks {
		inner := map[string]tftypes.Value{}
		if err := block.As(&inner); err != nil {
			return nil, err
		}
		p.defaultTags = elements(inner["tags"])
	}
	return &tfprotov6.ConfigureProviderResponse{}, nil
}

func (p *Provider) StopProvider(context.Context, *tfprotov6.StopProviderRequest) (*tfprotov6.StopProviderResponse, error) {
	return &tfprotov6.StopProviderResponse{}, nil
}

func (p *Provider) ValidateResourceConfig(_ context.Context, request *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	// Terraform itself has compared names and types with the schema before it asks.
	return &tfprotov6.ValidateResourceConfigResponse{}, nil
}

func (p *Provider) ValidateDataResourceConfig(context.Context, *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	return &tfprotov6.ValidateDataResourceConfigResponse{}, nil
}

func (p *Provider) UpgradeResourceState(_ context.Context, request *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	block, err := find(p.declared.Resources, request.TypeName)
	if err != nil {
		return nil, err
	}
	kind := objectType(block)
	value, err := request.RawState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	state, err := tfprotov6.NewDynamicValue(kind, value)
	return &tfprotov6.UpgradeResourceStateResponse{UpgradedState: &state}, err
}

// ReadResource finds everything as it was left.
func (p *Provider) ReadResource(_ context.Context, request *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	return &tfprotov6.ReadResourceResponse{NewState: request.CurrentState, Private: request.Private}, nil
}

func (p *Provider) PlanResourceChange(_ context.Context, request *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	block, err := find(p.declared.Resources, request.TypeName)
	if err != nil {
		return nil, err
	}
	kind := objectType(block)
	proposed, err := request.ProposedNewState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	if proposed.IsNull() {
		return &tfprotov6.PlanResourceChangeResponse{PlannedState: request.ProposedNewState}, nil
	}
	config, err := request.Config.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	prior, err := request.PriorState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	planned, err := p.plan(block, config, prior)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", request.TypeName, err)
	}
	state, err := tfprotov6.NewDynamicValue(kind, planned)
	return &tfprotov6.PlanResourceChangeResponse{PlannedState: &state}, err
}

func (p *Provider) ApplyResourceChange(_ context.Context, request *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	block, err := find(p.declared.Resources, request.TypeName)
	if err != nil {
		return nil, err
	}
	kind := objectType(block)
	planned, err := request.PlannedState.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	made, err := p.makeUp(request.TypeName, planned)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", request.TypeName, err)
	}
	state, err := tfprotov6.NewDynamicValue(kind, made)
	return &tfprotov6.ApplyResourceChangeResponse{NewState: &state}, err
}

func (p *Provider) ReadDataSource(_ context.Context, request *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	block, err := find(p.declared.DataSources, request.TypeName)
	if err != nil {
		return nil, err
	}
	kind := objectType(block)
	config, err := request.Config.Unmarshal(kind)
	if err != nil {
		return nil, err
	}
	asked, err := p.plan(block, config, tftypes.NewValue(kind, nil))
	if err != nil {
		return nil, err
	}
	answer, err := p.answer(request.TypeName, asked)
	if err != nil {
		return &tfprotov6.ReadDataSourceResponse{Diagnostics: complaint(request.TypeName, err.Error())}, nil
	}
	made, err := p.makeUp(request.TypeName, answer)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", request.TypeName, err)
	}
	state, err := tfprotov6.NewDynamicValue(kind, made)
	return &tfprotov6.ReadDataSourceResponse{State: &state}, err
}

func find(among map[string]*schema.Block, name string) (*schema.Block, error) {
	if block := among[name]; block != nil {
		return block, nil
	}
	return nil, fmt.Errorf("there is no %s", name)
}

func complaint(summary, detail string) []*tfprotov6.Diagnostic {
	return []*tfprotov6.Diagnostic{{Severity: tfprotov6.DiagnosticSeverityError, Summary: summary, Detail: detail}}
}

func fields(value *tfprotov6.DynamicValue, block *schema.Block) (map[string]tftypes.Value, error) {
	unpacked, err := value.Unmarshal(objectType(block))
	if err != nil {
		return nil, err
	}
	found := map[string]tftypes.Value{}
	return found, unpacked.As(&found)
}

// A known string; "" for everything else.
func text(value tftypes.Value) string {
	var found string
	if value.IsKnown() && !value.IsNull() && value.Type().Is(tftypes.String) && value.As(&found) == nil {
		return found
	}
	return ""
}

// The elements of a known map; nothing for everything else.
func elements(value tftypes.Value) map[string]tftypes.Value {
	found := map[string]tftypes.Value{}
	if value.IsKnown() && !value.IsNull() {
		// A value of another type has no elements either.
		_ = value.As(&found)
	}
	return found
}

// Arguments whose value Terraform passes on and never keeps are named so by this provider.
func isWriteOnly(name string, attribute *schema.Attribute) bool {
	return strings.HasSuffix(name, "_wo") && !attribute.Computed
}
