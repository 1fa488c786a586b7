output "script" {
  description = "The user data in clear."
  value       = local.script
}

output "user_data_base64" {
  description = "The user data, compressed and in base64, as launch templates and instances take it."
  value       = base64gzip(local.script)

  precondition {
    # AWS allows 16 KiB before base64; compression leaves a good margin below that.
    condition     = length(base64gzip(local.script)) * 3 / 4 <= 16384
    error_message = "The user data of ${var.role} is larger than the 16 KiB that AWS allows."
  }
}
