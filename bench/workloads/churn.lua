-- Table, closure and string churn for lua.sh. Prints one checksum.
local seed, checksum = 7, 0

local function draw(bound)
    seed = seed * 16807 % 2147483647
    return seed % bound
end

local records = {}
for step = 1, 500000 do
    local key = draw(40000)
    local old = records[key]
    if old then
        checksum = checksum + #old.text + old.call(step)
    end
    records[key] = { text = "step " .. step .. " of " .. key, tags = { key, step }, call = function(x) return x % 7 + key % 3 end }
end

local function build(depth)
    if depth == 0 then
        return {}
    end
    return { left = build(depth - 1), right = build(depth - 1) }
end

local function count(tree)
    return tree.left and 1 + count(tree.left) + count(tree.right) or 1
end

for _ = 1, 5 do
    checksum = checksum + count(build(15))
end
for _ = 1, 12 do
    local words = {}
    for i = 1, 10000 do
        words[i] = "w" .. draw(2000)
    end
    table.sort(words)
    checksum = checksum + #table.concat(words, " "):gsub("w1", "word")
end
print(checksum)
