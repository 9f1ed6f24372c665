/// Times as RFC 3339 writes them (`2025-07-18T20:42:34.250Z`), from and to milliseconds since 1970, UTC.
///
/// The Gregorian calendar is used for all years, 0000 to 9999. Leap seconds (`:60`) read as the second that follows.
package enum RFC3339 {
  /// Room for any time that `format` writes.
  package static let maxLength = 24

  /// The time that all of `bytes` writes, or nil. Digits of the fraction beyond milliseconds are cut off (towards the
  /// past). The `T` and `Z` may be lower case, and a space may stand for the `T`.
  package static func parse(_ bytes: UnsafeRawBufferPointer) -> Int64? {
    guard bytes.count >= 20, let year = digits(bytes, 0, 4), let month = digits(bytes, 5, 2),
      let day = digits(bytes, 8, 2), let hour = digits(bytes, 11, 2), let minute = digits(bytes, 14, 2),
      let second = digits(bytes, 17, 2),
      bytes[4] == UInt8(ascii: "-"), bytes[7] == UInt8(ascii: "-"), bytes[13] == UInt8(ascii: ":"),
      bytes[16] == UInt8(ascii: ":"), bytes[10] | 0x20 == UInt8(ascii: "t") || bytes[10] == UInt8(ascii: " "),
      (1...12).contains(month), day >= 1, day <= daysInMonth(year: year, month: month),
      hour < 24, minute < 60, second <= 60
    else { return nil }
    var position = 19
    guard let fraction = milliseconds(bytes, &position), let offset = offsetMinutes(bytes, &position),
      position == bytes.count
    else { return nil }
    let days = daysSince1970(year: year, month: month, day: day)
    let minutes = (days * 24 + hour) * 60 + minute - offset
    return Int64((minutes * 60 + second) * 1000 + fraction)
  }

  package static func parse(_ text: String) -> Int64? {
    var text = text
    return text.withUTF8 { parse(UnsafeRawBufferPointer($0)) }
  }

  /// Appends a time in UTC, with three digits of fraction where it has any. A time outside of the years 0000 to 9999,
  /// which this notation does not have, is written as the nearest one that it has.
  package static func append(_ milliseconds: Int64, to bytes: inout [UInt8]) {
    let clamped = min(max(milliseconds, earliest), latest)
    let (seconds, fraction) = floorDivide(Int(clamped), 1000)
    let (days, secondOfDay) = floorDivide(seconds, 86_400)
    let date = civil(daysSince1970: days)
    append(date.year, 4, to: &bytes)
    bytes.append(UInt8(ascii: "-"))
    append(date.month, 2, to: &bytes)
    bytes.append(UInt8(ascii: "-"))
    append(date.day, 2, to: &bytes)
    bytes.append(UInt8(ascii: "T"))
    append(secondOfDay / 3600, 2, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    append(secondOfDay / 60 % 60, 2, to: &bytes)
    bytes.append(UInt8(ascii: ":"))
    append(secondOfDay % 60, 2, to: &bytes)
    if fraction > 0 {
      bytes.append(UInt8(ascii: "."))
      append(fraction, 3, to: &bytes)
    }
    bytes.append(UInt8(ascii: "Z"))
  }

  package static func format(_ milliseconds: Int64) -> String {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(maxLength)
    append(milliseconds, to: &bytes)
    return String(decoding: bytes, as: UTF8.self)
  }

  /// 0000-01-01T00:00:00Z.
  package static let earliest: Int64 = -62_167_219_200_000
  /// 9999-12-31T23:59:59.999Z.
  package static let latest: Int64 = 253_402_300_799_999

  /// Days from 1970-01-01 in the proleptic Gregorian calendar. Years are taken to begin in March, so that the day that
  /// comes and goes is the last of a year, and in eras of 400 years, which all have 146,097 days.
  private static func daysSince1970(year: Int, month: Int, day: Int) -> Int {
    let shifted = month <= 2 ? year - 1 : year
    let (era, yearOfEra) = floorDivide(shifted, 400)
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    return era * 146_097 + dayOfEra - 719_468
  }

  private static func civil(daysSince1970 days: Int) -> (year: Int, month: Int, day: Int) {
    let (era, dayOfEra) = floorDivide(days + 719_468, 146_097)
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
  }

  private static func daysInMonth(year: Int, month: Int) -> Int {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  private static func digits(_ bytes: UnsafeRawBufferPointer, _ offset: Int, _ count: Int) -> Int? {
    var value = 0
    for index in offset..<offset + count {
      let digit = bytes[index] &- 0x30
      guard digit < 10 else { return nil }
      value = value * 10 + Int(digit)
    }
    return value
  }

  /// An optional fraction of a second.
  private static func milliseconds(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> Int? {
    guard position < bytes.count, bytes[position] == UInt8(ascii: ".") else { return 0 }
    position += 1
    let first = position
    var value = 0
    while position < bytes.count, bytes[position] &- 0x30 < 10 {
      if position - first < 3 { value = value * 10 + Int(bytes[position] &- 0x30) }
      position += 1
    }
    switch position - first {
    case 0: return nil
    case 1: return value * 100
    case 2: return value * 10
    default: return value
    }
  }

  /// `Z`, or hours and minutes east of UTC.
  private static func offsetMinutes(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> Int? {
    guard position < bytes.count else { return nil }
    let sign = bytes[position]
    if sign | 0x20 == UInt8(ascii: "z") {
      position += 1
      return 0
    }
    guard sign == UInt8(ascii: "+") || sign == UInt8(ascii: "-"), position + 6 <= bytes.count,
      let hours = digits(bytes, position + 1, 2), bytes[position + 3] == UInt8(ascii: ":"),
      let minutes = digits(bytes, position + 4, 2), hours < 24, minutes < 60
    else { return nil }
    position += 6
    return (sign == UInt8(ascii: "-") ? -1 : 1) * (hours * 60 + minutes)
  }

  private static func floorDivide(_ value: Int, _ divisor: Int) -> (quotient: Int, remainder: Int) {
    let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
  }

  private static func append(_ value: Int, _ count: Int, to bytes: inout [UInt8]) {
    var divisor = 1
    for _ in 1..<count { divisor *= 10 }
    while divisor > 0 {
      bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: value / divisor % 10))
      divisor /= 10
    }
  }
}
