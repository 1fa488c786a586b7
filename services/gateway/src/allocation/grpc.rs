//! `mesos.services.v1.Allocation`.

use mesos_proto::services::v1::{
    self, Explanation, GetNeedsRequest, GetNeedsResponse, GetPolicyRequest, GetRequestsRequest, GetRequestsResponse,
    GetRolesRequest, GetRolesResponse, PolicyView, Query, SetPlacementRequest, SetPlacementResponse, SetPolicyRequest,
    SetPriorityRequest, SetPriorityResponse, UpdateQuotaRequest, UpdateQuotaResponse, UpdateWeightsRequest,
    UpdateWeightsResponse, WhatIfRequest, WhatIfResponse,
};
use tonic::{Request, Response, Status};

use super::Allocation;
use crate::{calls::Context, reads::Principal};

fn context<T>(request: &Request<T>) -> Context {
    let principal = request.extensions().get::<Principal>().and_then(|principal| principal.0.clone());
    Context { principal, ..Context::default() }
}

#[tonic::async_trait]
impl v1::allocation_server::Allocation for Allocation {
    async fn get_policy(&self, _: Request<GetPolicyRequest>) -> Result<Response<PolicyView>, Status> {
        Ok(Response::new(self.policy().await?))
    }

    async fn set_policy(&self, request: Request<SetPolicyRequest>) -> Result<Response<PolicyView>, Status> {
        let context = context(&request);
        Ok(Response::new(Allocation::set_policy(self, request.into_inner(), context).await?))
    }

    async fn get_roles(&self, _: Request<GetRolesRequest>) -> Result<Response<GetRolesResponse>, Status> {
        Ok(Response::new(self.roles().await?))
    }

    async fn update_weights(
        &self,
        request: Request<UpdateWeightsRequest>,
    ) -> Result<Response<UpdateWeightsResponse>, Status> {
        let context = context(&request);
        Allocation::update_weights(self, request.into_inner(), context).await?;
        Ok(Response::new(UpdateWeightsResponse {}))
    }

    async fn update_quota(
        &self,
        request: Request<UpdateQuotaRequest>,
    ) -> Result<Response<UpdateQuotaResponse>, Status> {
        let context = context(&request);
        Allocation::update_quota(self, request.into_inner(), context).await?;
        Ok(Response::new(UpdateQuotaResponse {}))
    }

    async fn set_placement(
        &self,
        request: Request<SetPlacementRequest>,
    ) -> Result<Response<SetPlacementResponse>, Status> {
        let context = context(&request);
        Allocation::set_placement(self, request.into_inner(), context).await?;
        Ok(Response::new(SetPlacementResponse {}))
    }

    async fn get_needs(&self, _: Request<GetNeedsRequest>) -> Result<Response<GetNeedsResponse>, Status> {
        Ok(Response::new(self.needs().await?))
    }

    async fn get_requests(&self, _: Request<GetRequestsRequest>) -> Result<Response<GetRequestsResponse>, Status> {
        Ok(Response::new(self.requests().await?))
    }

    async fn explain(&self, request: Request<Query>) -> Result<Response<Explanation>, Status> {
        Ok(Response::new(Allocation::explain(self, request.into_inner()).await?))
    }

    async fn what_if(&self, request: Request<WhatIfRequest>) -> Result<Response<WhatIfResponse>, Status> {
        Ok(Response::new(Allocation::what_if(self, request.into_inner()).await?))
    }

    async fn set_priority(
        &self,
        request: Request<SetPriorityRequest>,
    ) -> Result<Response<SetPriorityResponse>, Status> {
        let context = context(&request);
        Allocation::set_priority(self, request.into_inner(), context).await?;
        Ok(Response::new(SetPriorityResponse {}))
    }
}
