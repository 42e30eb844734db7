// SPDX-License-Identifier: Apache-2.0 OR MIT
module guest

go 1.19
