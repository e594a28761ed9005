"""The table of providers' own error codes: words of an interface, which stand in fields of their own, and no message's
text.

A code comes before the status, because providers put different things under one status: OpenAI answers 429 both to a
pace that is too fast and to an account without credit, and AWS answers 400 to both a bad request and a refusal.
"""

from __future__ import annotations

from .row import Row, Word, by_value, names

CODE = "provider's code"

CODES = (
    Row(
        CODE,
        ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"),
        Word.EXHAUSTED,
        "OpenAI: no credit, the monthly limit, no billing, an account that is closed. Sent with status 429, 403 or 401.",
    ),
    Row(
        CODE,
        names(
            "invalid_api_key incorrect_api_key_provided invalid_organization mismatched_organization",
            "access_terminated unsupported_country_region_territory ip_not_authorized",
        ),
        Word.EXHAUSTED,
        "OpenAI: the key, the organization, or the place from which it is called is not accepted.",
    ),
    Row(CODE, ("billing_error", "authentication_error"), Word.EXHAUSTED, "Anthropic: no credit, or a wrong key."),
    Row(CODE, ("rate_limit_error", "rate_limit_exceeded"), Word.REFUSED, "Anthropic and OpenAI: too fast."),
    Row(
        CODE,
        ("overloaded_error", "api_error", "timeout_error", "server_error", "engine_overloaded"),
        Word.TRANSIENT,
        "Anthropic and OpenAI: the service itself is in trouble. In a stream, this comes with the status 200.",
    ),
    Row(
        CODE,
        ("dailyLimitExceeded", "quotaExceeded", "dailyLimitExceededUnreg", "OVER_DAILY_LIMIT"),
        Word.EXHAUSTED,
        "Google: the quota of the day or of the project is used up. Sent with status 403 or 429.",
    ),
    Row(
        CODE,
        names(
            "API_KEY_INVALID API_KEY_SERVICE_BLOCKED API_KEY_HTTP_REFERRER_BLOCKED API_KEY_IP_ADDRESS_BLOCKED",
            "API_KEY_ANDROID_APP_BLOCKED API_KEY_IOS_APP_BLOCKED CREDENTIALS_MISSING ACCESS_TOKEN_EXPIRED",
            "ACCESS_TOKEN_TYPE_UNSUPPORTED ACCESS_TOKEN_SCOPE_INSUFFICIENT ACCOUNT_STATE_INVALID keyInvalid",
            "keyExpired authError UNAUTHENTICATED REQUEST_DENIED",
        ),
        Word.EXHAUSTED,
        "Google (google.rpc.ErrorReason, the older JSON reasons, Maps): a key that is not accepted, with status 400 to 403.",
    ),
    Row(
        CODE,
        names(
            "BILLING_DISABLED SERVICE_DISABLED CONSUMER_SUSPENDED CONSUMER_INVALID USER_PROJECT_DENIED",
            "accessNotConfigured billingNotEnabled SERVICE_NOT_VISIBLE",
        ),
        Word.EXHAUSTED,
        "Google: the project has no billing, is suspended, or has not switched the service on. Sent with status 403.",
    ),
    Row(
        CODE,
        names(
            "RATE_LIMIT_EXCEEDED RESOURCE_EXHAUSTED RESOURCE_QUOTA_EXCEEDED rateLimitExceeded",
            "userRateLimitExceeded concurrentLimitExceeded OVER_QUERY_LIMIT",
        ),
        Word.REFUSED,
        "Google: too fast. Sent with status 403 or 429.",
    ),
    Row(
        CODE, ("backendError", "UNAVAILABLE", "DEADLINE_EXCEEDED"), Word.TRANSIENT, "Google: the service is in trouble."
    ),
    Row(
        CODE,
        names(
            "Throttling ThrottlingException ThrottledException RequestThrottled RequestThrottledException",
            "TooManyRequestsException ProvisionedThroughputExceededException RequestLimitExceeded SlowDown",
            "BandwidthLimitExceeded LimitExceededException EC2ThrottledException PriorRequestNotComplete",
        ),
        Word.REFUSED,
        "AWS: the codes that its own clients take for throttling. Sent with status 400, 403, 429 or 503.",
    ),
    Row(
        CODE,
        names(
            "UnrecognizedClientException InvalidClientTokenId InvalidAccessKeyId SignatureDoesNotMatch",
            "ExpiredToken ExpiredTokenException InvalidToken AuthFailure MissingAuthenticationToken",
            "MissingAuthenticationTokenException InvalidSignatureException IncompleteSignature NotSignedUp",
            "OptInRequired SubscriptionRequiredException AccountProblem AllAccessDisabled InvalidPayer",
        ),
        Word.EXHAUSTED,
        "AWS: the key, the token or the account is not accepted. Sent with status 400 or 403.",
    ),
    Row(
        CODE,
        names(
            "RequestTimeout RequestTimeoutException InternalError InternalFailure InternalServerError",
            "InternalServerException ServiceUnavailable ServiceUnavailableException",
            "TransactionInProgressException ModelNotReadyException ModelTimeoutException IDPCommunicationError",
        ),
        Word.TRANSIENT,
        "AWS and Azure: the service is in trouble, or did not get the whole request in time. Sent with status 400 or 5xx.",
    ),
    Row(
        CODE,
        names(
            "TooManyRequests ServerBusy RateLimitReached SubscriptionRequestsThrottled",
            "ResourceRequestsThrottled OperationNotAllowedDueToThrottling",
        ),
        Word.REFUSED,
        "Azure: too fast. Sent with status 429 or 503.",
    ),
    Row(
        CODE,
        names(
            "InvalidAuthenticationToken ExpiredAuthenticationToken AuthenticationFailed",
            "AuthenticationFailedMultiple ReadOnlyDisabledSubscription DisabledSubscription",
            "SubscriptionNotRegistered AccountIsDisabled",
        ),
        Word.EXHAUSTED,
        "Azure: the token is not accepted, or the subscription is switched off. Sent with status 401, 403 or 409.",
    ),
    Row(
        CODE,
        ("api_key_expired", "platform_api_key_expired", "secret_key_required", "account_closed", "account_invalid"),
        Word.EXHAUSTED,
        "Stripe: the key or the account is not accepted. Sent with status 400, 401 or 403.",
    ),
    Row(CODE, ("rate_limit", "lock_timeout"), Word.REFUSED, "Stripe: too fast, or too many requests on one object."),
    Row(CODE, ("idempotency_key_in_use",), Word.TRANSIENT, "Stripe: the first try of this request is still running."),
    Row(
        CODE,
        ("card_error",),
        Word.PERMANENT,
        "Stripe: a card was declined. The row's own matter, though the status is 402.",
    ),
    Row(CODE, ("ratelimited",), Word.REFUSED, "Slack: too fast. Sent with status 429 or 200."),
    Row(
        CODE,
        ("invalid_auth", "not_authed", "account_inactive", "token_revoked", "token_expired", "team_access_not_granted"),
        Word.EXHAUSTED,
        "Slack: the token is not accepted. Sent with status 200.",
    ),
    Row(CODE, ("THROTTLED",), Word.REFUSED, "Shopify (GraphQL): too much cost. Sent with status 200."),
    Row(
        CODE,
        ("enhance_your_calm", "rate_limited", "too_many_requests"),
        Word.REFUSED,
        "What several smaller providers say.",
    ),
)

DAILY = Row(
    CODE,
    ("quotaId or quota_limit that holds PerDay or PerMonth",),
    Word.EXHAUSTED,
    "Google (QuotaFailure, ErrorInfo): the names of its daily quotas, such as GenerateRequestsPerDayPerProjectPerModel.",
)

_INDEX = by_value(CODES)


def row_of_code(code: str) -> Row | None:
    """The row of a provider's code, letter for letter."""
    return _INDEX.get(code)


def row_of_quota(name: str) -> Row | None:
    """The row of a quota's name in an answer of Google."""
    return DAILY if "PerDay" in name or "PerMonth" in name else None
