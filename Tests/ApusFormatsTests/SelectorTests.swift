// Goal: selectors are read as PromQL's grammar has them, and what is no selector is refused with its place. Method: a
// table of texts with what they mean, and one of texts with where they go wrong.

import ApusFormats
import ApusModel
import Testing

@Suite struct SelectorTests {
  private static func meaning(_ text: String) throws -> [String] {
    try Selector(parsing: text).conditions.map { "\($0.label)\($0.operation.rawValue)\($0.value)" }
  }

  @Test(arguments: [
    ("up", ["__name__=up"]),
    ("  job:up:sum  ", ["__name__=job:up:sum"]),
    (#"up{}"#, ["__name__=up"]),
    (#"{a="b"}"#, ["a=b"]),
    (#"up{a="b",c!="d",}"#, ["__name__=up", "a=b", "c!=d"]),
    (#"up { a =~ 'x.*' , b !~ `\d` }"#, ["__name__=up", "a=~x.*", #"b!~\d"#]),
    (#"{"my.metric", "my label"="x"}"#, ["__name__=my.metric", "my label=x"]),
    (#"{__name__="up"}"#, ["__name__=up"]),
    (#"{a="\"\\\n\t\x41\u00e4\101"}"#, ["a=\"\\\n\tAäA"]),
    ("up # all of it\n{a='b'}", ["__name__=up", "a=b"]),
    (#"up{a=""}"#, ["__name__=up", "a="]),
  ])
  func texts(_ text: String, _ expected: [String]) throws {
    #expect(try SelectorTests.meaning(text) == expected)
  }

  @Test(arguments: [
    ("", 0), ("{}", 0), (#"{a!="b"}"#, 0), (#"{a=""}"#, 0), ("up{", 3), ("up{a", 4), ("up{a=", 5), ("up{a=b}", 5),
    (#"up{a="b"#, 5), (#"up{a="b" c="d"}"#, 9), (#"up{,}"#, 3), (#"up{a="\q"}"#, 6), (#"up[5m]"#, 2), ("9up", 0),
    (#"up{a=="b"}"#, 5), (#"up{"other"}"#, 3), (#"up{a="\xff"}"#, 5), ("up}", 2), ("up{a=\"b\nc\"}", 5),
  ])
  func whatIsNone(_ text: String, _ position: Int) {
    do throws(SelectorError) {
      let selector = try Selector(parsing: text)
      Issue.record("\(text) was read as \(selector.conditions)")
    } catch { #expect(error.position == position, "\(text): \(error)") }
  }

  @Test func matchersOfTheStore() throws {
    #expect(
      try Selector(parsing: #"up{a="b",c!="d"}"#).matchers() == [.metric("up"), .equal("a", "b"), .notEqual("c", "d")])
    #expect(throws: SelectorError.self) { try Selector(parsing: #"up{a=~"b"}"#).matchers() }
  }
}
