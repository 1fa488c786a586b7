output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "cidr" {
  description = "The VPC's addresses."
  value       = aws_vpc.this.cidr_block
}

output "availability_zones" {
  description = "The zones that are used, in the order of the subnets."
  value       = local.zones
}

output "private_subnet_ids" {
  description = "The subnets of hosts, one a zone."
  value       = [for zone in local.zones : aws_subnet.private[zone].id]
}

output "private_subnet_cidrs" {
  description = "The addresses of the private subnets, in the same order."
  value       = [for zone in local.zones : aws_subnet.private[zone].cidr_block]
}

output "public_subnet_ids" {
  description = "The subnets that the internet reaches, one a zone."
  value       = [for zone in local.zones : aws_subnet.public[zone].id]
}

output "nat_public_ips" {
  description = "The addresses from which hosts reach the internet."
  value       = [for zone in local.nats : aws_eip.nat[zone].public_ip]
}
