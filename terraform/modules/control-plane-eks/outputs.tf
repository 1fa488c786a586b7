output "cluster_name" {
  description = "The EKS cluster, for aws eks update-kubeconfig."
  value       = aws_eks_cluster.this.name
}

output "endpoint" {
  description = "Kubernetes's API."
  value       = aws_eks_cluster.this.endpoint
}

output "cluster_ca_certificate" {
  description = "The CA of Kubernetes's API, in base64."
  value       = aws_eks_cluster.this.certificate_authority[0].data
}

output "values" {
  description = "What the chart is installed with, in YAML, beside var.values."
  value       = yamlencode(local.values)
}

output "release" {
  description = "The release of the chart, once it is ready."
  value       = helm_release.this.name
}
