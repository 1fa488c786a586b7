output "bucket_name" {
  description = "The bucket's name. It is known before the bucket is there."
  value       = local.name
}

output "bucket_arn" {
  description = "The bucket's ARN, once AWS may deliver logs to it."
  value       = aws_s3_bucket.this.arn

  depends_on = [aws_s3_bucket_policy.this]
}
