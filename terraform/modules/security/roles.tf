# What each kind of host may do in AWS, and nothing more.

locals {
  secret = "arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:${var.name}"
  # Secrets Manager ends the ARNs of secrets in a dash and six letters of its own.
  secrets = { for role in ["control", "nats", "redis", "keeper"] : role => "${local.secret}/${role}-??????" }

  join_tokens = "arn:${local.partition}:ssm:${local.region}:${local.account}:parameter/${var.name}/join/*"
  groups_arn  = "arn:${local.partition}:autoscaling:${local.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}-agents-*"

  roles = toset(["control", "nats", "redis", "agent", "keeper", "jaeger"])

  fetch_packages = [for object in var.package_objects : "arn:${local.partition}:s3:::${object}"]

  common = [
    {
      Sid      = "WriteLogs"
      Effect   = "Allow"
      Action   = "s3:PutObject"
      Resource = "arn:${local.partition}:s3:::${var.log_bucket_name}/host/*"
    },
    {
      Sid      = "UseTheKeyThroughTheseServices"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = aws_kms_key.this.arn
      Condition = {
        StringEquals = {
          "kms:ViaService" = [for service in ["s3", "secretsmanager", "ssm"] : "${service}.${local.region}.amazonaws.com"]
        }
      }
    },
  ]

  packages = [{
    Sid      = "FetchPackages"
    Effect   = "Allow"
    Action   = "s3:GetObject"
    Resource = local.fetch_packages
  }]

  own = {
    agent = [
      {
        # The keeper tags a token with the instance that it is for, which aws:userid ends in.
        Sid       = "TakeOwnJoinToken"
        Effect    = "Allow"
        Action    = "ssm:GetParameter"
        Resource  = local.join_tokens
        Condition = { StringEquals = { "aws:ResourceTag/for" = "$${aws:userid}" } }
      },
    ]
    keeper = [
      {
        # Auto Scaling does not limit what is described to some groups.
        Sid      = "SeeInstances"
        Effect   = "Allow"
        Action   = "autoscaling:DescribeAutoScalingGroups"
        Resource = "*"
      },
      {
        Sid      = "LetInstancesGo"
        Effect   = "Allow"
        Action   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
        Resource = local.groups_arn
      },
      {
        Sid      = "HandOutJoinTokens"
        Effect   = "Allow"
        Action   = ["ssm:PutParameter", "ssm:DeleteParameter", "ssm:AddTagsToResource"]
        Resource = local.join_tokens
      },
    ]
  }
}

resource "aws_iam_role" "this" {
  for_each = local.roles

  name        = "${var.name}-${each.key}"
  description = "Hosts of the cluster ${var.name}: ${each.key}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })

  tags = var.tags
}

resource "aws_iam_role_policy" "this" {
  for_each = local.roles

  name = "host"
  role = aws_iam_role.this[each.key].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      local.common,
      length(local.fetch_packages) > 0 ? local.packages : [],
      [for role, secret in local.secrets : {
        Sid      = "ReadOwnSecret"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = secret
      } if role == each.key],
      try(local.own[each.key], []),
    )
  })
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  for_each = var.session_manager ? local.roles : toset([])

  role       = aws_iam_role.this[each.key].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  for_each = local.roles

  name = "${var.name}-${each.key}"
  role = aws_iam_role.this[each.key].name

  tags = var.tags
}
