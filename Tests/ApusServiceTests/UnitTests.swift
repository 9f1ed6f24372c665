// Goal: sizes, durations and addresses are read as people write them and refused with a reason where they could mean
// two things. Method: tables of texts; what is written is read back.
import ApusService
import Testing

@Suite struct UnitTests {
  @Test(arguments: [
    ("10B", 10), ("1kB", 1000), ("1KiB", 1024), ("64MiB", 64 << 20), ("500MB", 500_000_000), ("1GiB", 1 << 30),
    ("2 GiB", 2 << 30), ("3gib", 3 << 30), ("0B", 0), ("4TiB", 4 << 40),
  ])
  func sizes(text: String, bytes: Int) throws {
    #expect(try ByteCount.parse(text).bytes == bytes)
    #expect(try ByteCount.parse(ByteCount(bytes).description).bytes == bytes)
  }

  @Test(arguments: [
    ("", "it is empty"), ("1024", "it has no unit"), ("1K", "\"K\" is not one of"), ("GiB", "whole number"),
    ("1.5GiB", "smaller unit"), ("-1B", "whole number"), ("9999999999GiB", "too large"), ("1GiBs", "is not one of"),
    ("99999999999999999999B", "too large"),
  ])
  func wrongSizes(text: String, reason: String) {
    #expect { try ByteCount.parse(text) } throws: { "\($0)".contains(reason) && "\($0)".contains("64MiB") }
  }

  @Test(arguments: [
    ("30s", Duration.seconds(30)), ("5m", .seconds(300)), ("1h30m", .seconds(5400)), ("250ms", .milliseconds(250)),
    ("7d", .seconds(604_800)), ("1w", .seconds(604_800)), ("1s500ms", .milliseconds(1500)), ("0s", .zero),
    ("10us", .microseconds(10)), ("7ns", .nanoseconds(7)),
  ])
  func durations(text: String, duration: Duration) throws {
    #expect(try DurationText.parse(text) == duration)
    #expect(try DurationText.parse(DurationText.format(duration)) == duration)
  }

  @Test(arguments: [
    ("", "it is empty"), ("30", "it has no unit"), ("1.5h", "smaller unit"), ("inf", "finite"), ("5x", "is not one of"),
    ("30s5m", "larger units come first"), ("1s1s", "larger units come first"), ("99999999999d", "too large"),
    ("-3s", "whole number"), ("5 m", "smaller unit"),
  ])
  func wrongDurations(text: String, reason: String) {
    #expect { try DurationText.parse(text) } throws: { "\($0)".contains(reason) }
  }

  @Test func infinity() throws {
    #expect(try DurationText.parseOrInfinite("inf") == nil)
    #expect(try DurationText.parseOrInfinite("1m") == .seconds(60))
    #expect(DurationText.format(orInfinite: nil) == "inf")
    #expect(DurationText.format(.seconds(30 * 86_400 + 61)) == "30d1m1s")
  }

  @Test(arguments: [
    ("127.0.0.1:9000", "127.0.0.1", 9000), ("[::1]:9000", "::1", 9000), (":9000", "0.0.0.0", 9000),
    ("localhost:0", "localhost", 0), ("node-1.example:65535", "node-1.example", 65_535),
  ])
  func addresses(text: String, host: String, port: Int) throws {
    let address = try ListenAddress.parse(text)
    #expect(address == ListenAddress(host: host, port: port))
    #expect(try ListenAddress.parse(address.description) == address)
  }

  @Test(arguments: [
    ("", "empty"), ("9000", "no port"), ("localhost", "no port"), ("localhost:", "no port"), ("::1", "needs brackets"),
    ("[::1]", "must follow"), ("[::1:9", "not closed"), ("[host]:1", "for IPv6"), ("a:65536", "0 to 65535"),
    ("a:-1", "0 to 65535"), ("a:+1", "0 to 65535"), ("a b:1", "not a host"), ("http://a:1", "needs brackets"),
  ])
  func wrongAddresses(text: String, reason: String) {
    #expect { try ListenAddress.parse(text) } throws: { "\($0)".contains(reason) }
  }

  @Test func backoffGrowsToItsMaximumAndIsSeeded() {
    var backoff = Backoff(initial: .milliseconds(100), maximum: .seconds(2), seed: 7)
    var again = Backoff(initial: .milliseconds(100), maximum: .seconds(2), seed: 7)
    for ceiling in [100, 200, 400, 800, 1600, 2000, 2000, 2000] {
      let wait = backoff.next()
      #expect(wait == again.next())
      #expect(wait <= .milliseconds(ceiling) && wait >= .milliseconds(ceiling / 2))
    }
    backoff.reset()
    #expect(backoff.next() <= .milliseconds(100))
    for _ in 0..<100 { #expect(backoff.next() <= .seconds(2)) }
  }
}
