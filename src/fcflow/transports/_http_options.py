"""What a configuration may say of an HTTP connection and of its feeds, as JSON Schema."""

from __future__ import annotations

from typing import Any

from fcflow.signing import PROPERTIES
from fcflow.transports import _jsonpath as jsonpath

__all__ = ["FEED_OPTIONS", "OPTIONS"]

_HEADER = "^[A-Za-z0-9-]+$"


def _path(description: str) -> dict[str, Any]:
    return {"type": "string", "pattern": jsonpath.PATTERN, "description": description}


_SIGN: dict[str, Any] = {
    **PROPERTIES,
    "signed": {**PROPERTIES["signed"], "default": ["timestamp", "method", "target", "body"]},
    "separator": {**PROPERTIES["separator"], "default": "\n"},
}

OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "ca_file": {"type": "string", "description": "PEM file of certificates to trust instead of the usual ones"},
        "client_cert_file": {"type": "string", "description": "PEM file of the certificate that we show"},
        "client_key_file": {"type": "string", "description": "PEM file of its private key"},
        "api_key_header": {
            "type": "string",
            "pattern": _HEADER,
            "default": "X-Api-Key",
            "description": "header that carries the secret `api_key`",
        },
        "idempotency_header": {
            "type": "string",
            "pattern": _HEADER,
            "default": "Idempotency-Key",
            "description": "header that carries the key of a delivery, the same at every attempt",
        },
        "connect_timeout_s": {
            "type": "number",
            "exclusiveMinimum": 0,
            "default": 10,
            "description": "for connecting alone; the partner's `timeout_s` bounds the whole call",
        },
        "headers": {
            "type": "object",
            "propertyNames": {"pattern": _HEADER},
            "additionalProperties": {"type": "string"},
            "description": "sent with every request; never secrets",
        },
        "oauth": {
            "type": "object",
            "additionalProperties": False,
            "required": ["url", "client_id"],
            "properties": {
                "url": {"type": "string", "description": "where tokens are given; https"},
                "client_id": {"type": "string", "minLength": 1, "description": "who we are there"},
                "scope": {"type": "string", "description": "what the token is for, words with blanks between"},
                "audience": {"type": "string", "description": "whom it is for, where the server asks for that"},
                "resource": {"type": "string", "description": "the same, as other servers call it"},
                "client_in": {
                    "enum": ["header", "body"],
                    "default": "header",
                    "description": "where client id and secret stand",
                },
                "timeout_s": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 15,
                    "description": "for the request for a token",
                },
            },
            "description": "log in by OAuth 2, client credentials, with the secret `client_secret`: the token is kept "
            "in memory, asked for again before it ends and once after a 401; `url`, `client_id`, `scope`, `audience`, "
            "`resource`, `client_in` (`header`, `body`), `timeout_s`",
        },
        "sign": {
            "type": "object",
            "additionalProperties": False,
            "properties": _SIGN,
            "description": "sign every request (HMAC) with the secret `signing_key`; see *A signature*",
        },
    },
    "dependentRequired": {"client_cert_file": ["client_key_file"], "client_key_file": ["client_cert_file"]},
}

_TEST: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["at"],
    "properties": {
        "at": _path("where in the answer: `$.result.code`, `$.orders[*].ok`"),
        "equals": {"description": "the value there, as JSON"},
        "in": {"type": "array", "minItems": 1, "description": "or one of these"},
        "exists": {"type": "boolean", "description": "or whether there is a value, other than null"},
    },
    "oneOf": [{"required": ["equals"]}, {"required": ["in"]}, {"required": ["exists"]}],
}


def _rule(description: str) -> dict[str, Any]:
    """A declared rule: every part of it must hold."""
    return {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {
            "status": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "integer", "minimum": 100, "maximum": 599},
                "description": "its status is one of these; any 2xx without it",
            },
            "body": {"type": "string", "description": "its whole text, blanks around it apart"},
            "json": {
                "oneOf": [_TEST, {"type": "array", "minItems": 1, "items": _TEST}],
                "description": "what stands where in it; all must hold",
            },
        },
        "description": description,
    }


FEED_OPTIONS: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "accept": _rule(
            'orders: which answer means accepted: `{"body": "OK"}`, `{"status": [200, 201]}`, '
            '`{"json": {"at": "$.code", "equals": 0}}` (or `in`, or `exists`), or several together; without it, any 2xx'
        ),
        "known": _rule(
            "orders: which answer means that the partner has the delivery already, and so is a success: "
            '`{"status": [409], "json": {"at": "$.code", "equals": "duplicate"}}`'
        ),
        "refuse": _rule(
            "orders: which answer is a definite no where its status does not say so, such as a 500 for a bad order"
        ),
        "error": _path("where in the answer the text of a refusal stands, such as `$.errors[*].message`"),
        "method": {"enum": ["POST", "PUT"], "default": "POST", "description": "orders: how they are handed over"},
        "multipart": {
            "type": "object",
            "additionalProperties": False,
            "required": ["file"],
            "properties": {
                "file": {"type": "string", "minLength": 1, "description": "name of the field that holds the file"},
                "fields": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "further fields; may hold {name} {key}",
                },
            },
            "description": 'orders: post a form with a file in it: `{"file": "upload", "fields": {"kind": "new"}}`',
        },
        "look_up": {
            "type": "string",
            "description": "orders: URL path that answers 200 where the order is known and 404 where it is not; "
            "may hold {fulfilment_id} {key} {name}",
        },
        "per": {
            "enum": ["feed", "order", "batch"],
            "default": "feed",
            "description": "status, stock: ask once, once for every open fulfilment order, or for many at a time",
        },
        "batch_size": {
            "type": "integer",
            "minimum": 1,
            "maximum": 10_000,
            "default": 50,
            "description": "per batch: orders asked for at a time, at most",
        },
        "separator": {"type": "string", "default": ",", "description": "per batch: what stands between them"},
        "query": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "status, stock: URL parameters; their values may hold {since} {now}, and per order also "
            "{fulfilment_id} {order_id} {reference}, per batch {fulfilment_ids} {order_ids} {references}; "
            "{since:%Y-%m-%d} picks a pattern",
        },
        "pages": {
            "type": "object",
            "additionalProperties": False,
            "required": ["by"],
            "properties": {
                "by": {
                    "enum": ["link", "body", "cursor", "number", "offset"],
                    "description": "where the next page is found: in the header Link, as a URL in the body, as a "
                    "cursor in the body, by counting pages, or by counting entries",
                },
                "items": _path("the list that the pages continue; without it the pages are text, one after another"),
                "next": _path("by body, cursor: where the URL or the cursor stands; null or absent is the end"),
                "parameter": {
                    "type": "string",
                    "minLength": 1,
                    "description": "by cursor, number, offset: the URL parameter",
                },
                "first": {"type": "integer", "minimum": 0, "description": "by number, offset: the first page's"},
                "size": {
                    "type": "integer",
                    "minimum": 1,
                    "description": "by number, offset: a page with fewer entries is the last",
                },
                "more": _path("whether there are more pages, such as `$.has_more`"),
                "header_lines": {
                    "type": "integer",
                    "minimum": 0,
                    "default": 0,
                    "description": "of text: lines at the head of every page that stand in the whole once",
                },
                "most": {"type": "integer", "minimum": 1, "default": 100, "description": "pages; more are an error"},
            },
            "dependentRequired": {"more": ["items"]},
            "allOf": [
                {
                    "if": {"properties": {"by": {"enum": ["body", "cursor"]}}},
                    "then": {"required": ["next", "items"]},
                },
                {
                    "if": {"properties": {"by": {"enum": ["cursor", "number", "offset"]}}},
                    "then": {"required": ["parameter"]},
                },
            ],
            "description": "status, stock: the answer comes in pages, which are put together: `by` (`link`, `body`, "
            "`cursor`, `number`, `offset`), `items`, `next`, `parameter`, `first`, `size`, `more`, "
            "`header_lines`, `most`",
        },
        "etag": {
            "type": "boolean",
            "default": True,
            "description": "status, stock: where the server marks its answers (ETag), ask only for one that is not "
            "that of the last time",
        },
    },
}
