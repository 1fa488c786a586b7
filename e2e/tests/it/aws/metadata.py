"""The metadata of an instance, as 169.254.169.254 answers on it: only to who has asked for a session before.

    metadata.py METADATA.json    serves until it is killed; values by the end of their path, and the name of the role
"""

import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

metadata = json.load(open(sys.argv[1], encoding="utf-8"))
role = metadata.pop("role")
credentials = {
    "Code": "Success",
    "Type": "AWS-HMAC",
    "AccessKeyId": "ASIATEST",
    "SecretAccessKey": "test",
    "Token": "test",
    "LastUpdated": "2026-01-01T00:00:00Z",
    "Expiration": "2099-01-01T00:00:00Z",
}
metadata["iam/security-credentials/"] = role
metadata[f"iam/security-credentials/{role}"] = json.dumps(credentials)
sessions = set()


class Handler(BaseHTTPRequestHandler):
    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        if self.path != "/latest/api/token" or not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds"):
            return self.answer(400, "")
        session = secrets.token_urlsafe()
        sessions.add(session)
        return self.answer(200, session)

    def do_GET(self):
        if self.headers.get("X-aws-ec2-metadata-token") not in sessions:
            return self.answer(401, "")
        value = metadata.get(self.path.removeprefix("/latest/meta-data/"))
        return self.answer(404, "") if value is None else self.answer(200, value)


ThreadingHTTPServer(("169.254.169.254", 80), Handler).serve_forever()
