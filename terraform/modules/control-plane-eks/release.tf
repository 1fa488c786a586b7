# The control plane: the chart, over NATS and Redis that are not Kubernetes's.

locals {
  namespace = "mesos"

  # As the chart names them.
  secrets = {
    ca        = ["ca.crt"]
    ca-key    = ["ca.key"]
    gateway   = ["gateway.crt", "gateway.key"]
    token-key = ["token.key"]
    operator  = ["operator.token"]
    control   = ["control.creds", "redis-password"]
  }

  values = {
    cluster = var.name
    image   = { repository = var.image.repository, tag = var.image.tag }
    tls     = { mode = "secret", secretPrefix = var.name }
    tracing = { endpoint = var.otlp_endpoint == null ? "" : var.otlp_endpoint }
    gateway = {
      replicas = 3
      hostname = "gateway.${var.zone}"
      service  = { type = "NodePort", port = 5050, nodePort = var.node_port }
    }
    nats = {
      bundled = false
      external = {
        url         = var.nats_url
        credentials = { secret = "${var.name}-control" }
        ca          = { secret = "${var.name}-ca" }
      }
    }
    redis = {
      bundled = false
      external = {
        url      = var.redis.url
        username = var.redis.username
        password = { secret = "${var.name}-control" }
        # Certificates of ElastiCache are known to the system.
        ca = { secret = var.redis.own_ca ? "${var.name}-ca" : "" }
      }
    }
  }
}

resource "kubernetes_namespace_v1" "this" {
  metadata {
    name = local.namespace

    labels = {
      "pod-security.kubernetes.io/enforce" = "restricted"
    }
  }

  depends_on = [aws_eks_node_group.this]
}

resource "kubernetes_secret_v1" "this" {
  for_each = local.secrets

  metadata {
    name      = "${var.name}-${each.key}"
    namespace = kubernetes_namespace_v1.this.metadata[0].name
  }

  data_wo          = { for file in each.value : file => file("${var.pki_dir}/${file}") }
  data_wo_revision = var.pki_version
}

resource "helm_release" "this" {
  name            = "mesos"
  namespace       = kubernetes_namespace_v1.this.metadata[0].name
  chart           = var.chart
  values          = concat(var.values, [yamlencode(local.values)])
  atomic          = true
  cleanup_on_fail = true
  wait            = true
  timeout         = 600

  depends_on = [kubernetes_secret_v1.this]
}
