# Names: of hosts and the gateway inside the VPC, and of the gateway outside if wanted.

resource "aws_route53_zone" "private" {
  #checkov:skip=CKV2_AWS_38:DNSSEC is for public zones; this one is known inside the VPC only.
  #checkov:skip=CKV2_AWS_39:Query logs exist for public zones only.
  name    = var.zone
  comment = "Hosts of the Mesos cluster ${var.name}"

  vpc {
    vpc_id = var.vpc_id
  }

  tags = var.tags
}

resource "aws_route53_record" "hosts" {
  #checkov:skip=CKV2_AWS_23:The addresses are those of instances of other modules.
  for_each = var.records

  zone_id = aws_route53_zone.private.zone_id
  name    = "${each.key}.${var.zone}"
  type    = "A"
  ttl     = 60
  records = each.value
}

resource "aws_route53_record" "gateway" {
  zone_id = aws_route53_zone.private.zone_id
  name    = "gateway.${var.zone}"
  type    = "A"

  alias {
    name                   = var.load_balancer.dns_name
    zone_id                = var.load_balancer.zone_id
    evaluate_target_health = true
  }
}

resource "aws_route53_record" "public" {
  count = var.public_name == null ? 0 : 1

  zone_id = var.public_zone_id
  name    = var.public_name
  type    = "A"

  alias {
    name                   = var.load_balancer.dns_name
    zone_id                = var.load_balancer.zone_id
    evaluate_target_health = true
  }
}
