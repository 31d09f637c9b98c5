/* SPDX-License-Identifier: GPL-2.0-only

   Keystead's login plugin for MariaDB 10.11: hands a client's security token to the decision service of this machine.

   Copyright (C) 2026 The Keystead authors. This program is free software; you can redistribute it and/or modify it under
   the terms of the GNU General Public License as published by the Free Software Foundation; version 2 of the License.
   This program is distributed in the hope that it will be useful, but WITHOUT ANY WARRANTY; without even the implied
   warranty of MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE. See the GNU General Public License for more details.

   The rest of Keystead is under another licence; this file talks to it only through a Unix socket.

   Three plugins, by the client that they are for:

     iam_token    mysql_clear_password                    payload: the token, NUL
     iam_oci      authentication_oci_client               the nonce is sent first; payload: JSON with a signature over it
     iam_openid   authentication_openid_connect_client    payload: 0x01, the token with its length before it

   Promises:
   - No client is asked for a credential before its connection is seen to be encrypted. The server itself would look
     only afterwards. What tells: with TLS the server has sent its certificate, in clear only its greeting.
   - It decides nothing. It lets somebody in only when the service has said so, whole and in time; every doubt refuses.
   - Nothing of a credential is logged or kept: every buffer that held one is wiped.
   - Bounds: 2 s for everything with the service, PAYLOAD_MAX, REPLY_MAX.

   To the service, one connection per login (numbers big endian; `n:x` is a length of 4 bytes and that many bytes):

     "KSL1" | kind 1 | connection id 8 | n:server | n:user | n:auth string | n:nonce | n:payload | n:client host

   and back, then the end of the stream:

     'A' | length 2 | account | length 2 | external user          or  'R'
*/

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <netinet/in.h>
#include <linux/tcp.h>
#include <mariadb/mysql/plugin_auth.h> /* what client and server plugins have in common */

/* What the server expects of a plugin (MariaDB 10.11, plugin interface 1.15, authentication interface 2.2). */

#define PLUGIN_INTERFACE 0x010f
#define AUTH_INTERFACE 0x0202
#define AUTHENTICATION_PLUGIN 7
#define LICENSE_GPL 1
#define MATURITY_STABLE 5
#define VAR_STRING (0x0005 | 0x0200) /* read only */

typedef struct {
  const char *user_name;
  unsigned int user_name_length;
  const char *auth_string;
  unsigned long auth_string_length;
  char authenticated_as[MYSQL_USERNAME_LENGTH + 1];
  char external_user[MYSQL_USERNAME_LENGTH + 1];
  int password_used;
  const char *host_or_ip;
  unsigned int host_or_ip_length;
  void *thd;
} auth_info;

struct auth_plugin {
  int interface_version;
  const char *client_plugin;
  int (*authenticate)(MYSQL_PLUGIN_VIO *, auth_info *);
  int (*hash_password)(const char *, size_t, char *, size_t *);
  int (*preprocess_hash)(const char *, size_t, unsigned char *, size_t *);
};

struct string_variable {
  int flags;
  const char *name, *comment;
  void *check, *update;
  char **value;
  const char *initial;
};

struct plugin {
  int type;
  void *info;
  const char *name, *author, *about;
  int license;
  int (*init)(void *), (*deinit)(void *);
  unsigned int version;
  void *status_variables;
  struct string_variable **variables;
  const char *version_text;
  unsigned int maturity;
};

extern unsigned long thd_get_thread_id(const void *thd);

#define EXPORTED __attribute__((visibility("default")))
#define PAYLOAD_MAX 16384
#define REPLY_MAX (1 + 2 * (2 + MYSQL_USERNAME_LENGTH))
#define NONCE_LENGTH 32
#define SERVICE_MS 2000
#define PLAIN_MAX 256 /* bytes: the greeting has about 104, greeting and TLS handshake more than 300 */

static char *service_socket, *service_server;

/* --- the connection ------------------------------------------------------------------------------------------------ */

static int is_encrypted(MYSQL_PLUGIN_VIO *vio) {
  MYSQL_PLUGIN_VIO_INFO seen;
  struct tcp_info tcp;
  socklen_t length = sizeof tcp;
  memset(&seen, 0, sizeof seen);
  memset(&tcp, 0, sizeof tcp);
  vio->info(vio, &seen);
  if (seen.protocol != MYSQL_VIO_TCP)
    return 0;
  if (getsockopt(seen.socket, IPPROTO_TCP, TCP_INFO, &tcp, &length) != 0)
    return 0;
  if (length < offsetof(struct tcp_info, tcpi_bytes_sent) + sizeof tcp.tcpi_bytes_sent)
    return 0; /* a kernel that does not count */
  return tcp.tcpi_bytes_sent >= PLAIN_MAX;
}

static int make_nonce(unsigned char *nonce) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  if (getrandom(nonce, NONCE_LENGTH, 0) != NONCE_LENGTH)
    return 0;
  for (int i = 0; i < NONCE_LENGTH; i++)
    nonce[i] = (unsigned char)letters[nonce[i] & 63];
  return 1;
}

/* --- what is read: pure, and fuzzed ---------------------------------------------------------------------------------- */

struct slice {
  const unsigned char *at;
  size_t length;
};

/* The token in a packet of mysql_clear_password: all before its closing NUL. */
static int read_clear(const unsigned char *packet, size_t length, struct slice *token) {
  if (length < 2 || length > PAYLOAD_MAX + 1 || packet[length - 1] != 0 || memchr(packet, 0, length - 1) != NULL)
    return 0;
  *token = (struct slice){packet, length - 1};
  return 1;
}

/* The token in a packet of authentication_openid_connect_client. The length is MySQL's: 1, 3, 4 or 9 bytes. */
static int read_openid(const unsigned char *packet, size_t length, struct slice *token) {
  size_t at = 2, extra = 0;
  uint64_t told = 0;
  if (length < 3 || packet[0] != 1)
    return 0;
  switch (packet[1]) {
    case 0xfb: case 0xff: return 0;
    case 0xfc: extra = 2; break;
    case 0xfd: extra = 3; break;
    case 0xfe: extra = 8; break;
    default: told = packet[1];
  }
  if (length - at < extra)
    return 0;
  for (size_t i = 0; i < extra; i++)
    told |= (uint64_t)packet[at + i] << (8 * i);
  at += extra;
  if (told == 0 || told > PAYLOAD_MAX || told != length - at)
    return 0;
  *token = (struct slice){packet + at, (size_t)told};
  return 1;
}

static int read_oci(const unsigned char *packet, size_t length, struct slice *answer) {
  if (length > 0 && packet[length - 1] == 0)
    length--; /* some clients close their text with a NUL */
  if (length == 0 || length > PAYLOAD_MAX)
    return 0;
  *answer = (struct slice){packet, length};
  return 1;
}

/* A name of the reply into a buffer of MYSQL_USERNAME_LENGTH + 1. Returns where it ends; NULL when it is not whole. */
static const unsigned char *read_name(const unsigned char *at, const unsigned char *end, char *into) {
  if (end - at < 2)
    return NULL;
  size_t length = (size_t)at[0] << 8 | at[1];
  at += 2;
  if (length == 0 || length > MYSQL_USERNAME_LENGTH || length > (size_t)(end - at) || memchr(at, 0, length) != NULL)
    return NULL;
  memcpy(into, at, length);
  into[length] = 0;
  return at + length;
}

/* Whether the whole reply says yes; only then are the names touched. */
static int read_reply(const unsigned char *reply, size_t length, char *account, char *external) {
  char as[MYSQL_USERNAME_LENGTH + 1], by[MYSQL_USERNAME_LENGTH + 1];
  const unsigned char *end = reply + length, *at;
  if (length < 1 || length > REPLY_MAX || reply[0] != 'A')
    return 0;
  if ((at = read_name(reply + 1, end, as)) == NULL || (at = read_name(at, end, by)) == NULL || at != end)
    return 0;
  memcpy(account, as, strlen(as) + 1);
  memcpy(external, by, strlen(by) + 1);
  return 1;
}

/* --- the service --------------------------------------------------------------------------------------------------- */

static unsigned char *put_number(unsigned char *at, uint64_t number, int bytes) {
  for (int i = bytes - 1; i >= 0; i--)
    *at++ = (unsigned char)(number >> (8 * i));
  return at;
}

static unsigned char *put(unsigned char *at, const void *bytes, size_t length) {
  at = put_number(at, length, 4);
  if (length > 0)
    memcpy(at, bytes, length);
  return at + length;
}

static int64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int wait_for(int service, short events, int64_t deadline) {
  struct pollfd one = {service, events, 0};
  for (;;) {
    int64_t left = deadline - now_ms();
    int found = left > 0 ? poll(&one, 1, (int)left) : 0;
    if (found > 0)
      return 1;
    if (found == 0 || errno != EINTR)
      return 0;
  }
}

static int connect_service(int64_t deadline) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  struct timespec moment = {0, 2 * 1000 * 1000};
  if (service_socket == NULL || *service_socket == 0 || strlen(service_socket) >= sizeof name.sun_path)
    return -1;
  strcpy(name.sun_path, service_socket);
  int service = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (service < 0)
    return -1;
  while (connect(service, (struct sockaddr *)&name, sizeof name) != 0) {
    if ((errno != EAGAIN && errno != EINTR) || now_ms() >= deadline) { /* EAGAIN: many are before us */
      close(service);
      return -1;
    }
    nanosleep(&moment, NULL);
  }
  return service;
}

static int exchange(int service, const unsigned char *message, size_t length, unsigned char *reply, int64_t deadline) {
  size_t done = 0;
  while (done < length) {
    ssize_t sent = send(service, message + done, length - done, MSG_NOSIGNAL);
    if (sent > 0)
      done += (size_t)sent;
    else if (sent == 0 || (errno != EAGAIN && errno != EINTR) || !wait_for(service, POLLOUT, deadline))
      return -1;
  }
  for (done = 0; done <= REPLY_MAX;) { /* one byte more than a reply may have */
    ssize_t got = recv(service, reply + done, REPLY_MAX + 1 - done, 0);
    if (got == 0)
      return (int)done;
    if (got > 0)
      done += (size_t)got;
    else if ((errno != EAGAIN && errno != EINTR) || !wait_for(service, POLLIN, deadline))
      return -1;
    if (now_ms() >= deadline)
      return -1;
  }
  return -1;
}

static int ask_service(char kind, auth_info *info, const unsigned char *nonce, struct slice payload) {
  const char *server = service_server != NULL ? service_server : "";
  const char *user = info->user_name != NULL ? info->user_name : "";
  const char *host = info->host_or_ip != NULL ? info->host_or_ip : "";
  size_t user_length = *user ? info->user_name_length : 0, host_length = *host ? info->host_or_ip_length : 0;
  size_t auth_length = info->auth_string != NULL ? info->auth_string_length : 0;
  if (user_length > MYSQL_USERNAME_LENGTH || auth_length > PAYLOAD_MAX || host_length > 1024 || strlen(server) > 1024)
    return 0;
  size_t room = 64 + strlen(server) + user_length + auth_length + NONCE_LENGTH + payload.length + host_length;
  unsigned char *message = malloc(room), reply[REPLY_MAX + 1], *at = message;
  if (message == NULL)
    return 0;
  memcpy(at, "KSL1", 4);
  at[4] = (unsigned char)kind;
  at = put_number(at + 5, thd_get_thread_id(info->thd), 8);
  at = put(at, server, strlen(server));
  at = put(at, user, user_length);
  at = put(at, info->auth_string, auth_length);
  at = put(at, nonce, nonce != NULL ? NONCE_LENGTH : 0);
  at = put(at, payload.at, payload.length);
  at = put(at, host, host_length);
  int64_t deadline = now_ms() + SERVICE_MS;
  int service = connect_service(deadline), got = -1;
  if (service >= 0) {
    got = exchange(service, message, (size_t)(at - message), reply, deadline);
    close(service);
  }
  explicit_bzero(message, room);
  free(message);
  return got > 0 && read_reply(reply, (size_t)got, info->authenticated_as, info->external_user);
}

/* --- the plugins --------------------------------------------------------------------------------------------------- */

typedef int (*reader)(const unsigned char *, size_t, struct slice *);

static int log_in(char kind, reader read, MYSQL_PLUGIN_VIO *vio, auth_info *info) {
  unsigned char nonce[NONCE_LENGTH], *packet = NULL;
  struct slice payload;
  int allowed = 0;
  info->password_used = 1;
  if (!is_encrypted(vio))
    return CR_ERROR;
  if (kind == 'o' && (!make_nonce(nonce) || vio->write_packet(vio, nonce, NONCE_LENGTH) != 0))
    return CR_ERROR;
  int length = vio->read_packet(vio, &packet);
  if (length < 0 || packet == NULL)
    return CR_ERROR;
  if (read(packet, (size_t)length, &payload))
    allowed = ask_service(kind, info, kind == 'o' ? nonce : NULL, payload);
  explicit_bzero(packet, (size_t)length);
  return allowed ? CR_OK : CR_ERROR;
}

static int log_in_token(MYSQL_PLUGIN_VIO *vio, auth_info *info) { return log_in('t', read_clear, vio, info); }
static int log_in_oci(MYSQL_PLUGIN_VIO *vio, auth_info *info) { return log_in('o', read_oci, vio, info); }
static int log_in_openid(MYSQL_PLUGIN_VIO *vio, auth_info *info) { return log_in('p', read_openid, vio, info); }

/* An account of ours takes no password: nothing that a statement gives becomes its text, but what is given as such. */
static int no_password(const char *text, size_t length, char *into, size_t *into_length) {
  (void)text, (void)into, (void)into_length;
  return length > 0;
}

static struct auth_plugin token = {AUTH_INTERFACE, "mysql_clear_password", log_in_token, no_password, NULL};
static struct auth_plugin oci = {AUTH_INTERFACE, "authentication_oci_client", log_in_oci, no_password, NULL};
static struct auth_plugin openid = {
    AUTH_INTERFACE, "authentication_openid_connect_client", log_in_openid, no_password, NULL};

static struct string_variable socket_variable = {
    VAR_STRING, "socket", "Where logins are decided: the path of a Unix socket", NULL, NULL, &service_socket, ""};
static struct string_variable server_variable = {
    VAR_STRING, "server", "Which server this is", NULL, NULL, &service_server, ""};
static struct string_variable *variables[] = {&socket_variable, &server_variable, NULL};

EXPORTED int _maria_plugin_interface_version_ = PLUGIN_INTERFACE;
EXPORTED int _maria_sizeof_struct_st_plugin_ = sizeof(struct plugin);
EXPORTED struct plugin _maria_plugin_declarations_[] = {
    {AUTHENTICATION_PLUGIN, &token, "iam_token", "Keystead", "Login with a security token", LICENSE_GPL, NULL, NULL,
     0x0100, NULL, variables, "1.0", MATURITY_STABLE},
    {AUTHENTICATION_PLUGIN, &oci, "iam_oci", "Keystead", "Login with a security token and its key", LICENSE_GPL, NULL,
     NULL, 0x0100, NULL, NULL, "1.0", MATURITY_STABLE},
    {AUTHENTICATION_PLUGIN, &openid, "iam_openid", "Keystead", "Login with an OpenID client", LICENSE_GPL, NULL, NULL,
     0x0100, NULL, NULL, "1.0", MATURITY_STABLE},
    {0}};
