/* urls.c: where callers come to; see urls.h. */
#include <string.h>

#include "urls.h"

void
url_base(struct url_base *base, const struct daemon_conf *conf, const char *endpoint)
{
	static const char authority[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:[]";
	const char *text = conf->url[0] != '\0' ? conf->url : endpoint;
	const char *rest = strstr(text, "://"), *end, *colon;

	base->scheme = strncmp(text, "wss", 3) == 0 || strncmp(text, "https", 5) == 0 ? "https://" : "http://";
	rest = rest != NULL ? rest + 3 : text;
	end = rest + strcspn(rest, "/?#");
	if (strspn(rest, authority) < (size_t)(end - rest))
		end = rest;
	colon = memchr(rest, ']', (size_t)(end - rest));
	colon = memchr(colon != NULL ? colon : rest, ':', (size_t)(end - (colon != NULL ? colon : rest)));
	base->host.p = rest;
	base->host.len = (size_t)((colon != NULL ? colon : end) - rest);
	base->port.p = colon;
	base->port.len = colon != NULL && end - colon <= 6 ? (size_t)(end - colon) : 0;
	if (conf->domain[0] != '\0' || base->host.len == 0 || base->host.len > NAME_LEN_MAX) {
		base->host.p = conf->domain[0] != '\0' ? conf->domain : "tunnel.localhost";
		base->host.len = strlen(base->host.p);
	}
}

int
url_is_ours(const struct daemon_conf *conf, struct str authority)
{
	static const char local[] = "localhost";
	const char *end = authority.len > 0 && authority.p[0] == '[' ? memchr(authority.p, ']', authority.len) : NULL;
	char host[NAME_LEN_MAX + 1];
	struct url_base base;
	struct addr a;
	size_t n, k = sizeof(local) - 1;

	if (end != NULL) {
		authority.p++;
		n = (size_t)(end - authority.p);
	} else if ((end = memchr(authority.p, ':', authority.len)) != NULL)
		n = (size_t)(end - authority.p);
	else
		n = authority.len;
	if (n == 0 || n > NAME_LEN_MAX)
		return 0;
	memcpy(host, authority.p, n);
	host[n] = '\0';
	if (addr_parse(&a, host) == 0)
		return 1;
	if (n >= k && http_same(host + n - k, local, k) && (n == k || host[n - k - 1] == '.'))
		return 1;
	url_base(&base, conf, conf->url);
	return (conf->domain[0] != '\0' || conf->url[0] != '\0') && base.host.len == n && http_same(host, base.host.p, n);
}

void
url_put_name(struct buf *b, const struct daemon_conf *conf, const char *endpoint, const char *name)
{
	const char *domain = conf->domain;
	struct url_base base;

	url_base(&base, conf, endpoint);
	buf_str(b, base.scheme);
	buf_str(b, name);
	if (strchr(name, '.') == NULL) {
		buf_str(b, ".");
		buf_str(b, domain[0] != '\0' ? domain : "tunnel.localhost");
	}
	buf_put(b, base.port.p, base.port.len);
	buf_char(b, '\0');
}

void
url_put_path(struct buf *b, const struct daemon_conf *conf, const char *endpoint, const char *name)
{
	struct url_base base;

	url_base(&base, conf, endpoint);
	buf_str(b, base.scheme);
	buf_put(b, base.host.p, base.host.len);
	buf_put(b, base.port.p, base.port.len);
	buf_str(b, "/");
	buf_str(b, name);
	buf_str(b, "/");
	buf_char(b, '\0');
}
