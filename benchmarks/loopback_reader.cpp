// Reads streamed chat completions from a server on this machine, at little cost: one thread, epoll.
//
//     loopback_reader PORT BODIES [KEY [WIDTH]]
//
// BODIES holds one request body a line. A connection is opened for each, then all requests are sent,
// then everything is read to its end; with WIDTH only so many at first, and the next one whenever an
// answer has ended. Prints one JSON object: what came on each stream and when, and
// what the reading took. Times are CLOCK_MONOTONIC seconds after the first request was written.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

bool has(std::string_view text, std::string_view piece) {
  return text.find(piece) != std::string_view::npos;
}

// Cuts the body out of HTTP/1.1 chunks. A chunk is what the server gave its socket at once.
class Chunks {
 public:
  // Calls `on_body` with each run of body bytes in `data`.
  template <class OnBody>
  void feed(std::string_view data, OnBody on_body) {
    while (!data.empty()) {
      if (left_ > 0) {
        const std::size_t taken = std::min(left_, data.size());
        on_body(data.substr(0, taken));
        left_ -= taken;
        data.remove_prefix(taken);
        continue;
      }
      const std::size_t end = data.find('\n');
      size_line_ += data.substr(0, end);
      if (end == std::string_view::npos) return;
      data.remove_prefix(end + 1);
      if (size_line_ != "\r") {  // else the end of the chunk before
        left_ = std::strtoul(size_line_.c_str(), nullptr, 16);
        count += left_ > 0;
      }
      size_line_.clear();
    }
  }

  int count = 0;

 private:
  std::size_t left_ = 0;
  std::string size_line_;
};

// One read that brought text.
struct Arrival {
  double at_s;
  int events;
};

class Stream {
 public:
  int socket = -1;
  double sent_s = 0.0;
  std::vector<Arrival> arrivals;
  long bytes = 0;
  int reads = 0;
  int events = 0;  // with text
  long completion_tokens = 0;
  long prompt_tokens = 0;
  bool is_done = false;  // [DONE] came
  std::string status;
  std::string error;
  Chunks chunks;

  void feed(std::string_view data, double at_s) {
    ++reads;
    bytes += static_cast<long>(data.size());
    const int before = events;
    if (!has_headers_) {
      head_ += data;
      const std::size_t end = head_.find("\r\n\r\n");
      if (end == std::string::npos) return;
      has_headers_ = true;
      status = head_.substr(9, 3);
      is_chunked_ = has(head_.substr(0, end), "chunked");
      const std::string rest = head_.substr(end + 4);
      take(rest);
    } else {
      take(data);
    }
    if (events > before) arrivals.push_back({at_s, events - before});
  }

 private:
  void take(std::string_view data) {
    if (is_chunked_) {
      chunks.feed(data, [this](std::string_view body) { lines(body); });
    } else {
      lines(data);
    }
  }

  void lines(std::string_view body) {
    while (!body.empty()) {
      const std::size_t end = body.find('\n');
      if (end == std::string_view::npos) {
        open_line_ += body;
        return;
      }
      if (open_line_.empty()) {
        line(body.substr(0, end));
      } else {
        open_line_ += body.substr(0, end);
        line(open_line_);
        open_line_.clear();
      }
      body.remove_prefix(end + 1);
    }
  }

  void line(std::string_view text) {
    if (text.size() < 6) return;
    constexpr std::string_view content = "\"content\":\"";
    const std::size_t at = text.find(content);
    if (at != std::string_view::npos) {
      events += !text.substr(at + content.size()).starts_with('"');
      if (!has(text, "\"usage\":{")) return;
    }
    if (text.starts_with("data: [DONE]")) is_done = true;
    if (has(text, "\"error\"")) error = text;
    number(text, "\"completion_tokens\":", completion_tokens);
    number(text, "\"prompt_tokens\":", prompt_tokens);
  }

  static void number(std::string_view text, std::string_view name, long& value) {
    const std::size_t at = text.find(name);
    if (at != std::string_view::npos) value = std::atol(text.data() + at + name.size());
  }

  bool has_headers_ = false;
  bool is_chunked_ = false;
  std::string head_;
  std::string open_line_;
};

int connect_to(int port) {
  const int found = ::socket(AF_INET, SOCK_STREAM, 0);
  if (found < 0) fail("socket");
  const int yes = 1;
  setsockopt(found, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(found, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) fail("connect");
  return found;
}

void send_all(int socket, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(socket, data.data(), data.size(), 0);
    if (sent < 0) fail("send");
    data.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::string request(const std::string& body, const std::string& key) {
  const std::string bearer = key.empty() ? "" : "authorization: Bearer " + key + "\r\n";
  return "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n" + bearer +
         "content-type: application/json\r\ncontent-length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + "\"";
}

// What this process has used so far.
struct Used {
  double cpu_s;
  long switches;  // of context
};

Used used_so_far() {
  rusage found{};
  getrusage(RUSAGE_SELF, &found);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return {seconds(found.ru_utime) + seconds(found.ru_stime), found.ru_nvcsw + found.ru_nivcsw};
}

void print(const std::vector<Stream>& streams, double start_s, const Used& used) {
  std::printf("{\"cpu_s\":%.6f,\"switches\":%ld,\"streams\":[", used.cpu_s, used.switches);
  for (std::size_t i = 0; i < streams.size(); ++i) {
    const Stream& s = streams[i];
    std::printf(
        "%s{\"status\":%s,\"sent_s\":%.6f,\"events\":%d,\"writes\":%d,\"reads\":%d,\"bytes\":%ld,"
        "\"completion_tokens\":%ld,\"prompt_tokens\":%ld,\"is_done\":%s,\"error\":%s,\"arrivals\":[",
        i ? "," : "", s.status.empty() ? "0" : s.status.c_str(), s.sent_s - start_s, s.events,
        s.chunks.count, s.reads, s.bytes, s.completion_tokens, s.prompt_tokens,
        s.is_done ? "true" : "false", quoted(s.error).c_str());
    for (std::size_t a = 0; a < s.arrivals.size(); ++a) {
      std::printf("%s[%.6f,%d]", a ? "," : "", s.arrivals[a].at_s - start_s, s.arrivals[a].events);
    }
    std::printf("]}");
  }
  std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 5) {
    std::fprintf(stderr, "usage: loopback_reader PORT BODIES [KEY [WIDTH]]\n");
    return 2;
  }
  const std::string key = argc > 3 ? argv[3] : "";
  std::vector<std::string> requests;
  std::ifstream file(argv[2]);
  for (std::string body; std::getline(file, body);) {
    requests.push_back(request(body, key));
  }
  std::vector<Stream> streams(requests.size());
  const int epoll = epoll_create1(0);
  if (epoll < 0) fail("epoll_create1");
  const auto open_one = [&](std::size_t i) {
    streams[i].socket = connect_to(std::atoi(argv[1]));
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, streams[i].socket, &event) != 0) fail("epoll_ctl");
  };
  const auto ask_one = [&](std::size_t i) {
    send_all(streams[i].socket, requests[i]);
    streams[i].sent_s = now_s();
  };
  const std::size_t wanted = argc > 4 ? std::strtoul(argv[4], nullptr, 10) : streams.size();
  const std::size_t width = std::min(std::max<std::size_t>(wanted, 1), streams.size());
  for (std::size_t i = 0; i < width; ++i) open_one(i);
  const Used before = used_so_far();
  const double start_s = now_s();
  for (std::size_t i = 0; i < width; ++i) ask_one(i);
  std::size_t next = width;
  constexpr std::size_t kReadBytes = 1 << 18;
  const std::unique_ptr<char[]> buffer(new char[kReadBytes]);
  std::vector<epoll_event> events(streams.size());
  for (std::size_t open = streams.size(); open > 0;) {
    const int ready = epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    if (ready < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < ready; ++i) {
      Stream& stream = streams[events[static_cast<std::size_t>(i)].data.u64];
      const ssize_t got = ::recv(stream.socket, buffer.get(), kReadBytes, 0);
      if (got > 0) {
        stream.feed({buffer.get(), static_cast<std::size_t>(got)}, now_s());
      } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        ::close(stream.socket);  // leaves epoll by itself
        --open;
        if (next < streams.size()) {
          open_one(next);
          ask_one(next++);
        }
      }
    }
  }
  const Used after = used_so_far();
  print(streams, start_s, {after.cpu_s - before.cpu_s, after.switches - before.switches});
}
