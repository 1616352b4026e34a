/* A bare UDP forwarder: the least that any relay on one UDP port must do for a packet.
 *
 *   forwarder LISTEN_PORT UPSTREAM_PORT [LOSS_PERMILLE]
 *
 * All on 127.0.0.1, with the sockets that the relay has: one shared towards the clients, and one
 * connected socket a call towards the upstream, made for each client address that is new.
 * One wake-up, one recvfrom, one sendto a packet, nothing else.
 *
 * SIGUSR1 switches on the loss of LOSS_PERMILLE/1000 of the packets in each direction, SIGUSR2
 * switches it off: so it serves as a lossy network too. Prints "ready" once it listens.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLOWS 4096 /* a power of two, far above the calls of a run */
#define EVENTS 64
#define BUFFER 2048
#define SOCKET_BUFFER (4 * 1024 * 1024)

struct flow {
  struct sockaddr_in client;
  int upstream_fd; /* 0: the place is free */
};

static struct flow flows[FLOWS];
static struct sockaddr_in upstream_address;
static int client_fd, epoll_fd;
static volatile sig_atomic_t losing = 0;
static uint32_t loss_permille = 0, random_state = 2463534242u;

static void on_signal(int number) { losing = number == SIGUSR1; }

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int lost(void) {
  if (!losing) return 0;
  random_state ^= random_state << 13; /* xorshift32 */
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state % 1000 < loss_permille;
}

static int udp_socket(uint16_t port) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = SOCKET_BUFFER;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address)) die("udp socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
  return fd;
}

static void watch(int fd, struct flow *flow) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = flow};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static struct flow *open_flow(struct flow *flow, const struct sockaddr_in *client) {
  flow->client = *client;
  flow->upstream_fd = udp_socket(0);
  if (connect(flow->upstream_fd, (struct sockaddr *)&upstream_address, sizeof upstream_address))
    die("connect");
  watch(flow->upstream_fd, flow);
  return flow;
}

static struct flow *find_flow(const struct sockaddr_in *client) {
  uint32_t place = client->sin_port * 2654435761u; /* one host: the port tells clients apart */
  for (int tried = 0; tried < FLOWS; tried++, place++) {
    struct flow *flow = &flows[place % FLOWS];
    if (!flow->upstream_fd) return open_flow(flow, client);
    if (flow->client.sin_port == client->sin_port) return flow;
  }
  return NULL; /* full: the packet is dropped */
}

static void up(void) {
  char buffer[BUFFER];
  struct sockaddr_in client;
  socklen_t length = sizeof client;
  ssize_t size = recvfrom(client_fd, buffer, BUFFER, 0, (struct sockaddr *)&client, &length);
  if (size < 0 || lost()) return;
  struct flow *flow = find_flow(&client);
  if (flow) send(flow->upstream_fd, buffer, size, 0);
}

static void down(struct flow *flow) {
  char buffer[BUFFER];
  ssize_t size = recv(flow->upstream_fd, buffer, BUFFER, 0);
  if (size < 0 || lost()) return;
  sendto(client_fd, buffer, size, 0, (struct sockaddr *)&flow->client, sizeof flow->client);
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: forwarder LISTEN_PORT UPSTREAM_PORT [LOSS_PERMILLE]\n");
    return 2;
  }
  if (argc > 3) loss_permille = atoi(argv[3]);
  signal(SIGUSR1, on_signal);
  signal(SIGUSR2, on_signal);
  upstream_address.sin_family = AF_INET;
  upstream_address.sin_port = htons(atoi(argv[2]));
  upstream_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  client_fd = udp_socket(atoi(argv[1]));
  if ((epoll_fd = epoll_create1(0)) < 0) die("epoll_create1");
  watch(client_fd, NULL);
  puts("ready");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(epoll_fd, events, EVENTS, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr) down(events[i].data.ptr);
      else up();
    }
  }
}
