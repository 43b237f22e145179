// A certified OpenID provider (npm `oidc-provider`) with token exchange, and what tests need to disturb it.
//
//   node provider.mjs FOLDER   prints one line of JSON when it listens; FOLDER gets the daemon's client key
//
// Agents have subject tokens by client credentials (JWT access tokens, RFC 9068, signed with RS256); the daemon logs in by
// `private_key_jwt`. POST /test/rotate (a new key before the old one), /test/forget (the old one goes), /test/down,
// /test/up; GET /test/counts.
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const modules = process.env.NODE_PATH;
const { default: Provider, errors } = await import(join(modules, 'oidc-provider/lib/index.js'));
const jose = await import(join(modules, 'jose/dist/webapi/index.js'));

const folder = process.argv[2];
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const JWT = 'urn:ietf:params:oauth:token-type:jwt';
const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token';
const SUBJECTS = 'urn:interceptor';
const DATABASES = 'urn:postgres';

const rsa = (kid) => ({ ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' });
const daemon = generateKeyPairSync('ec', { namedCurve: 'P-256' });
writeFileSync(join(folder, 'client.key'), daemon.privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
const agents = ['agent:ci-1', 'agent:ci-2', 'agent:ci-3'];
const servers = {
  [SUBJECTS]: { audience: SUBJECTS, scope: 'connect', accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg: 'RS256' } } },
  [DATABASES]: { audience: DATABASES, scope: 'read', accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'RS256' } } },
};
const counts = { jwks: 0, token: 0, exchange: 0 };
let keys = [rsa('key-0')];
let down = false;
let current;

function provider(issuer) {
  const made = new Provider(issuer, {
    jwks: { keys },
    clients: [
      ...agents.map((id) => ({ client_id: id, client_secret: 'secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] })),
      // The console, where people come back to; its tokens are for whoever it is.
      ...(process.env.CONSOLE ? [{
        client_id: SUBJECTS, grant_types: ['authorization_code'], response_types: ['code'], token_endpoint_auth_method: 'none',
        redirect_uris: [process.env.CONSOLE], id_token_signed_response_alg: 'RS256', application_type: 'native',
      }] : []),
      {
        client_id: 'interceptor', grant_types: [EXCHANGE], redirect_uris: [], response_types: [],
        token_endpoint_auth_method: 'private_key_jwt', token_endpoint_auth_signing_alg: 'ES256',
        jwks: { keys: [{ ...daemon.publicKey.export({ format: 'jwk' }), kid: 'daemon', use: 'sig', alg: 'ES256' }] },
      },
    ],
    features: {
      devInteractions: { enabled: Boolean(process.env.CONSOLE) },
      clientCredentials: { enabled: true },
      resourceIndicators: { enabled: true, getResourceServerInfo: (ctx, resource) => {
        if (!servers[resource]) throw new errors.InvalidTarget();
        return servers[resource];
      } },
    },
    scopes: ['connect', 'read'],
    claims: { openid: ['sub', 'groups'] },
    conformIdTokenClaims: false,
    clientAuthMethods: ['client_secret_basic', 'private_key_jwt', 'none'],
    enabledJWA: { clientAuthSigningAlgValues: ['ES256'] },
    extraTokenClaims: (ctx, token) => (token.extra?.groups ? { groups: token.extra.groups } : undefined),
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id, groups: id.startsWith('dba') ? ['dba'] : ['sales'] }) }),
  });
  made.registerGrantType(EXCHANGE, async (ctx) => {
    counts.exchange += 1;
    const { subject_token: subject, subject_token_type: type, audience, requested_token_type: requested } = ctx.oidc.params;
    if (type !== JWT || ![undefined, JWT, ACCESS_TOKEN].includes(requested)) throw new errors.InvalidRequest('tokens are JWTs here');
    if (audience !== DATABASES) throw new errors.InvalidTarget();
    let payload;
    try {
      ({ payload } = await jose.jwtVerify(subject, jose.createLocalJWKSet({ keys: keys.map(({ kty, n, e, kid, use, alg }) => ({ kty, n, e, kid, use, alg })) }), { issuer, audience: SUBJECTS, typ: 'at+jwt' }));
    } catch (error) {
      throw new errors.InvalidGrant(error.message);
    }
    const token = new made.AccessToken({ client: ctx.oidc.client, accountId: payload.sub, scope: 'read', gty: 'token_exchange', extra: { groups: ['builders'] } });
    token.resourceServer = new made.ResourceServer(DATABASES, servers[DATABASES]);
    ctx.body = {
      access_token: await token.save(), issued_token_type: ACCESS_TOKEN, token_type: 'Bearer', expires_in: token.expiration, scope: token.scope,
    };
  }, ['subject_token', 'subject_token_type', 'audience', 'requested_token_type', 'scope', 'actor_token', 'actor_token_type']);
  made.on('server_error', (ctx, error) => console.error(error));
  return made.callback();
}

const server = createServer((request, response) => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const reply = (body) => response.end(JSON.stringify(body));
  switch (request.url) {
    case '/test/rotate': keys = [rsa(`key-${Date.now()}`), ...keys]; current = provider(issuer); return reply({});
    case '/test/forget': keys = keys.slice(0, 1); current = provider(issuer); return reply({});
    case '/test/down': down = true; return reply({});
    case '/test/up': down = false; return reply({});
    case '/test/counts': return reply(counts);
    default:
  }
  if (down) return request.socket.destroy();
  if (request.url === '/jwks') counts.jwks += 1;
  if (request.url === '/token') counts.token += 1;
  return current(request, response);
});
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  current = provider(issuer);
  console.log(JSON.stringify({ issuer }));
});
