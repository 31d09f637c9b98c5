/* SPDX-License-Identifier: GPL-2.0-only

   The login plugin under random input, with sanitizers: packets of clients, and replies of the service.

   Usage: fuzz_iam_auth SECONDS SEED. The plugin is compiled in; a client, and a service behind a real Unix socket, are
   played here. Besides what the sanitizers find, it aborts when somebody is let in without a whole and proper yes, when
   a credential is left in the packet's buffer, or when anybody is asked for one on a connection that is not encrypted.
*/

#include "../../../native/iam_auth.c"

#include <pthread.h>
#include <stdio.h>

#define CHECK(condition) do { if (!(condition)) { fprintf(stderr, "failed: %s\n", #condition); abort(); } } while (0)
#define PACKET_MAX (PAYLOAD_MAX + 64)

static uint64_t state;
static unsigned char packet[PACKET_MAX];
static int packet_length, asked, encrypted, tcp_ends[2];
static unsigned char reply[2 * REPLY_MAX];
static size_t reply_length;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

unsigned long thd_get_thread_id(const void *thd) { (void)thd; return 7; }

static uint64_t next(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state;
}

static size_t below(size_t limit) { return limit ? (size_t)(next() % limit) : 0; }

static void fill(unsigned char *into, size_t length) {
  for (size_t i = 0; i < length; i++)
    into[i] = (unsigned char)next();
}

static int read_packet(MYSQL_PLUGIN_VIO *vio, unsigned char **into) {
  (void)vio;
  asked = 1;
  *into = packet;
  return packet_length;
}

static int write_packet(MYSQL_PLUGIN_VIO *vio, const unsigned char *bytes, int length) {
  (void)vio, (void)bytes;
  asked = 1;
  CHECK(length == NONCE_LENGTH);
  return below(50) == 0;
}

static void tell(MYSQL_PLUGIN_VIO *vio, MYSQL_PLUGIN_VIO_INFO *info) {
  (void)vio;
  info->protocol = MYSQL_VIO_TCP;
  info->socket = encrypted ? tcp_ends[0] : tcp_ends[1];
}

static void *serve(void *listening) {
  for (;;) {
    unsigned char some[4096];
    int caller = accept(*(int *)listening, NULL, NULL);
    if (caller < 0)
      return NULL;
    pthread_mutex_lock(&turn);
    unsigned char told[sizeof reply];
    size_t length = reply_length;
    memcpy(told, reply, length);
    pthread_mutex_unlock(&turn);
    if (length % 3 != 0) /* sometimes it answers before it has heard anything */
      (void)!recv(caller, some, sizeof some, 0);
    size_t half = length / 2;
    (void)!send(caller, told, half, MSG_NOSIGNAL);
    (void)!send(caller, told + half, length - half, MSG_NOSIGNAL);
    shutdown(caller, SHUT_WR);
    while (recv(caller, some, sizeof some, 0) > 0)
      ;
    close(caller);
  }
}

static size_t name(unsigned char *at) {
  size_t length = below(8) ? 1 + below(20) : below(600);
  at[0] = (unsigned char)(length >> 8), at[1] = (unsigned char)length;
  fill(at + 2, length);
  return length + 2;
}

/* A reply: a proper yes, one that was changed, or noise. Returns whether it is proper, by a reading of its own. */
static int make_reply(void) {
  size_t kind = below(4);
  if (kind == 0) {
    reply_length = below(sizeof reply);
    fill(reply, reply_length);
  } else {
    reply[0] = below(20) ? 'A' : (unsigned char)next();
    reply_length = 1 + name(reply + 1);
    reply_length += name(reply + reply_length);
    if (kind == 1)
      reply[below(reply_length)] = (unsigned char)next();
    if (kind == 2)
      reply_length -= below(reply_length + 1);
  }
  size_t at = 1;
  if (reply_length < 1 || reply_length > REPLY_MAX || reply[0] != 'A')
    return 0;
  for (int i = 0; i < 2; i++) {
    if (at + 2 > reply_length)
      return 0;
    size_t length = (size_t)reply[at] * 256 + reply[at + 1];
    at += 2;
    if (length < 1 || length > 512 || at + length > reply_length)
      return 0;
    for (size_t j = 0; j < length; j++)
      if (reply[at + j] == 0)
        return 0;
    at += length;
  }
  return at == reply_length;
}

static void make_packet(char kind) {
  size_t length = below(4) ? below(200) : below(PACKET_MAX);
  for (size_t i = 0; i < length; i++)
    packet[i] = (unsigned char)(below(100) ? 1 + next() % 255 : 0);
  if (kind == 't' && length && below(3))
    packet[length - 1] = 0;
  if (kind == 'p' && length > 12 && below(4)) {
    packet[0] = 1;
    size_t body = length - 2;
    packet[1] = (unsigned char)body;
    if (body >= 0xfb)
      packet[1] = 0xfc, packet[2] = (unsigned char)(body - 2), packet[3] = (unsigned char)((body - 2) >> 8);
    if (below(5) == 0)
      packet[1] = (unsigned char)(0xfa + below(6)), fill(packet + 2, 9);
  }
  packet_length = below(40) ? (int)length : -1;
}

static void one_login(MYSQL_PLUGIN_VIO *vio) {
  static const char kinds[] = "top";
  static const char *const users[] = {"ann", "", NULL};
  char kind = kinds[below(3)];
  auth_info info;
  memset(&info, 0, sizeof info);
  info.user_name = users[below(3)];
  info.user_name_length = info.user_name ? (unsigned)strlen(info.user_name) : 0;
  info.auth_string = below(4) ? "{\"tenancy\":\"t\"}" : NULL;
  info.auth_string_length = info.auth_string ? strlen(info.auth_string) : 0;
  info.host_or_ip = "::1";
  info.host_or_ip_length = 3;
  encrypted = below(10) != 0;
  asked = 0;
  make_packet(kind);
  pthread_mutex_lock(&turn);
  int proper = make_reply();
  pthread_mutex_unlock(&turn);
  int found = kind == 't' ? log_in_token(vio, &info) : kind == 'o' ? log_in_oci(vio, &info) : log_in_openid(vio, &info);
  CHECK(found == CR_OK || found == CR_ERROR);
  CHECK(found == CR_ERROR || (proper && encrypted && packet_length > 0));
  CHECK(encrypted || !asked);
  CHECK(found == CR_OK || (info.authenticated_as[0] == 0 && info.external_user[0] == 0));
  CHECK(memchr(info.authenticated_as, 0, sizeof info.authenticated_as) != NULL);
  for (int i = 0; asked && encrypted && packet_length > 0 && found == CR_OK && i < packet_length; i++)
    CHECK(packet[i] == 0);
}

static void two_ends(void) {
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof name;
  char much[1024] = {0};
  int listening = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(bind(listening, (struct sockaddr *)&name, sizeof name) == 0 && listen(listening, 1) == 0);
  CHECK(getsockname(listening, (struct sockaddr *)&name, &length) == 0);
  tcp_ends[1] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(tcp_ends[1], (struct sockaddr *)&name, sizeof name) == 0);
  tcp_ends[0] = accept(listening, NULL, NULL);
  CHECK(send(tcp_ends[0], much, sizeof much, 0) == (ssize_t)sizeof much); /* this end has sent as much as TLS would */
  CHECK(send(tcp_ends[1], much, 104, 0) == 104);
  close(listening);
}

int main(int count, char **given) {
  MYSQL_PLUGIN_VIO vio = {read_packet, write_packet, tell};
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  char text[64];
  pthread_t thread;
  int64_t end = now_ms() + 1000 * (count > 1 ? atoll(given[1]) : 10);
  state = (count > 2 ? (uint64_t)atoll(given[2]) : (uint64_t)time(NULL)) * 2 + 88172645463325253u;
  snprintf(text, sizeof text, "/tmp/fuzz-iam-%d.sock", (int)getpid());
  strcpy(name.sun_path, text);
  int listening = socket(AF_UNIX, SOCK_STREAM, 0);
  CHECK(bind(listening, (struct sockaddr *)&name, sizeof name) == 0 && listen(listening, 64) == 0);
  service_socket = text;
  service_server = "server";
  two_ends();
  CHECK(pthread_create(&thread, NULL, serve, &listening) == 0);
  unsigned long done = 0;
  for (; now_ms() < end; done++) {
    one_login(&vio);
    for (int i = 0; i < 200; i++) { /* the readers by themselves, many more times, in buffers of just their length */
      size_t length = below(3) ? below(64) : below(PACKET_MAX);
      unsigned char *exact = malloc(length ? length : 1);
      char as[MYSQL_USERNAME_LENGTH + 1], by[MYSQL_USERNAME_LENGTH + 1];
      struct slice found;
      fill(exact, length);
      if (length > 2 && below(2))
        exact[0] = below(2) ? 1 : 'A', exact[1] = (unsigned char)below(4), exact[length - 1] = (unsigned char)below(2);
      if (read_clear(exact, length, &found) || read_oci(exact, length, &found) || read_openid(exact, length, &found))
        CHECK(found.at >= exact && found.length > 0 && found.at + found.length <= exact + length);
      (void)read_reply(exact, length, as, by);
      free(exact);
    }
  }
  unlink(text);
  printf("%lu logins\n", done);
  return 0;
}
