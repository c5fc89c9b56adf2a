// swift-tools-version:5.9
// The Swift side of dig-nat-tools: the generated sources of a light node over the native library `dig_nat_mobile`.
//
// The library itself is built by cargo (`cargo build -p dig-nat-mobile --release --target aarch64-apple-ios`, and so on
// for every platform of the app) and linked by the app: `swift build -Xlinker -L<folder of libdig_nat_mobile>`.
// Sources/DigNat/DigNat.swift and Sources/DigNatFFI/DigNatFFI.h are generated; a test of the crate compares them.
import PackageDescription

let package = Package(
    name: "DigNat",
    platforms: [.iOS(.v15), .macOS(.v12)],
    products: [
        .library(name: "DigNat", targets: ["DigNat"])
    ],
    targets: [
        .systemLibrary(name: "DigNatFFI", path: "Sources/DigNatFFI"),
        .target(name: "DigNat", dependencies: ["DigNatFFI"], path: "Sources/DigNat"),
    ]
)
