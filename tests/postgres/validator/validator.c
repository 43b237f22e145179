/*
 * A validator for OAUTHBEARER log-ins, for tests: takes a JWT that is meant for "postgres" and has not expired, and calls its
 * bearer by the claim "sub", or by "act.sub" behind it. It does not verify the signature: what is tested is that the token
 * arrives, not the server's trust in it.
 */
#include "postgres.h"

#include <time.h>

#include "fmgr.h"
#include "libpq/oauth.h"

PG_MODULE_MAGIC;

static bool validate(const ValidatorModuleState *state, const char *token, const char *role, ValidatorModuleResult *result);

static const OAuthValidatorCallbacks callbacks = {
	PG_OAUTH_VALIDATOR_MAGIC,
	.validate_cb = validate,
};

const OAuthValidatorCallbacks *
_PG_oauth_validator_module_init(void)
{
	return &callbacks;
}

static int
digit(char sign)
{
	static const char *alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *found = strchr(alphabet, sign);

	return sign != '\0' && found ? (int) (found - alphabet) : -1;
}

/* The payload of a JWT, as text. */
static char *
payload(const char *token)
{
	const char *from = strchr(token, '.');
	const char *to = from ? strchr(from + 1, '.') : NULL;
	char	   *text;
	size_t		length = 0;
	uint32		bits = 0;
	int			count = 0;

	if (!to)
		return NULL;
	text = palloc0(to - from);
	for (const char *at = from + 1; at < to; at++)
	{
		int			value = digit(*at);

		if (value < 0)
			return NULL;
		bits = bits << 6 | (uint32) value;
		count += 6;
		if (count >= 8)
		{
			count -= 8;
			text[length++] = (char) (bits >> count & 0xff);
		}
	}
	return text;
}

static bool
validate(const ValidatorModuleState *state, const char *token, const char *role, ValidatorModuleResult *result)
{
	char	   *claims = payload(token);
	char	   *subject = claims ? strstr(claims, "\"sub\":\"") : NULL;
	char	   *expires = claims ? strstr(claims, "\"exp\":") : NULL;

	if (!subject || !expires || !strstr(claims, "\"aud\":\"postgres\""))
		return true;
	if (strtoll(expires + 6, NULL, 10) <= (long long) time(NULL))
		return true;
	subject += strlen("\"sub\":\"");
	result->authn_id = pnstrdup(subject, strcspn(subject, "\""));
	result->authorized = true;
	return true;
}
