# The load balancer before the gateways. It passes connections on as they are: TLS ends at the gateways, which know
# agents by their certificates.

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_150:deletion_protection says so, and is on by default.
  #checkov:skip=CKV_AWS_91:AWS writes access logs of TLS listeners only; this one passes TCP on, and the gateways log.
  name               = "${var.name}-gateway"
  load_balancer_type = "network"
  internal           = var.internal
  subnets            = var.subnet_ids
  security_groups    = [var.security_group_id]

  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection

  dynamic "access_logs" {
    for_each = var.access_logs ? [var.log_bucket_name] : []

    content {
      enabled = true
      bucket  = access_logs.value
      prefix  = "gateway"
    }
  }

  tags = merge(var.tags, { Name = "${var.name}-gateway" })
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378:Connections are passed on as TCP with TLS inside.
  name_prefix          = "mesos-"
  port                 = var.target_port
  protocol             = "TCP"
  vpc_id               = var.vpc_id
  target_type          = "instance"
  preserve_client_ip   = "false"
  deregistration_delay = "60"
  # Streams of frameworks to a gateway that is away are made anew at once.
  connection_termination = true

  health_check {
    protocol            = "HTTPS"
    path                = "/ready"
    port                = "traffic-port"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
    matcher             = "200"
  }

  tags = merge(var.tags, { Name = "${var.name}-gateway" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_listener" "this" {
  #checkov:skip=CKV_AWS_2:Connections are passed on as TCP with TLS inside.
  load_balancer_arn = aws_lb.this.arn
  port              = 5050
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }

  tags = var.tags
}
