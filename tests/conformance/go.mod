// SPDX-License-Identifier: Apache-2.0 OR MIT
module conformance

go 1.19
