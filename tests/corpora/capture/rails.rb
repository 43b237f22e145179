# ActiveRecord: migrations, the schema dumper, queries of each kind.
require "active_record"
require "logger"

ActiveRecord::Base.establish_connection(adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], username: ENV["PGUSER"], password: "unused", database: "shop")
ActiveRecord::Base.schema_format = :ruby if ActiveRecord::Base.respond_to?(:schema_format)
ActiveRecord::Migration.verbose = false

class CreateShop < ActiveRecord::Migration[6.1]
  def change
    enable_extension "hstore"
    enable_extension "pgcrypto"
    create_table :authors, comment: "who writes" do |t|
      t.string :name, null: false, limit: 100, index: { unique: true }
      t.citext :email
      t.jsonb :settings, default: {}, null: false
      t.timestamps
    end
    create_table :books, id: :uuid do |t|
      t.references :author, foreign_key: { on_delete: :cascade }, null: false
      t.text :title, null: false
      t.decimal :price, precision: 8, scale: 2, default: 0
      t.string :labels, array: true, default: []
      t.hstore :extra
      t.daterange :on_sale
      t.binary :cover
      t.integer :state, default: 0
      t.integer :lock_version, default: 0
      t.virtual :title_length, type: :integer, as: "length(title)", stored: true if false
      t.timestamps precision: 6
      t.index [:author_id, :title], unique: true, order: { title: :desc }
      t.index :labels, using: :gin
      t.index "lower(title)", name: "books_lower_title", where: "price > 0"
    end
    create_table(:tags) { |t| t.string :name; t.integer :books_count, default: 0 }
    create_join_table :books, :tags, column_options: { type: :string } do |t|
      t.index :tag_id
    end rescue nil
    create_table(:comments) { |t| t.references :subject, polymorphic: true, type: :string; t.text :body; t.string :type; t.timestamps }
  end
end

class ChangeShop < ActiveRecord::Migration[6.1]
  disable_ddl_transaction!
  def up
    add_column :authors, :born, :date
    add_check_constraint :books, "price >= 0", name: "price_check"
    change_column :authors, :name, :string, limit: 200
    change_column_null :books, :price, false, 0
    change_column_default :books, :price, from: 0, to: 1
    change_column_comment :authors, :born, "day"
    rename_column :authors, :born, :birthday
    add_index :books, :price, algorithm: :concurrently, include: [:title] rescue add_index(:books, :price, algorithm: :concurrently)
    rename_index :books, "index_books_on_price", "books_price"
    execute "CREATE VIEW cheap AS SELECT id, title FROM books WHERE price < 5"
    create_table(:old) { |t| t.string :x }
    rename_table :old, :older
    add_foreign_key :comments, :authors, column: :id, validate: false
    remove_foreign_key :comments, column: :id
    drop_table :older
  end

  def down
    execute "DROP VIEW cheap"
    remove_index :books, name: "books_price"
    remove_check_constraint :books, name: "price_check"
    remove_column :authors, :birthday
  end
end

migrations = [CreateShop, ChangeShop].each_with_index.map do |migration, number|
  proxy = ActiveRecord::MigrationProxy.new(migration.name, number + 1, "x", nil)
  proxy.define_singleton_method(:migration) { @made ||= migration.new(migration.name, number + 1) }
  proxy
end
schema = ActiveRecord::Base.connection.schema_migration
run = ->(direction, target = nil) { ActiveRecord::Migrator.new(direction, migrations, schema, target).migrate }
run.(:up)
run.(:down, 1)
run.(:up)

class Author < ActiveRecord::Base
  has_many :books, dependent: :destroy
  has_many :tags, -> { distinct }, through: :books
  has_many :comments, as: :subject
  store_accessor :settings, :theme
  validates :name, uniqueness: true, presence: true
end
class Book < ActiveRecord::Base
  belongs_to :author, touch: true
  has_and_belongs_to_many :tags
  has_many :comments, as: :subject
  enum state: { draft: 0, published: 1 }
  scope :dear, -> { where("price > ?", 2) }
end
class Tag < ActiveRecord::Base; has_and_belongs_to_many :books; end
class Comment < ActiveRecord::Base; belongs_to :subject, polymorphic: true; end
class Praise < Comment; end
class Customer < ActiveRecord::Base; end
class Order < ActiveRecord::Base; belongs_to :customer; end
class OrderTotal < ActiveRecord::Base; end
class BooksTag < ActiveRecord::Base; end

File.open("schema.rb", "w") { |file| ActiveRecord::SchemaDumper.dump(ActiveRecord::Base.connection, file) } rescue warn $!

[true, false].each do |prepared|
  ActiveRecord::Base.establish_connection(adapter: "postgresql", host: ENV["PGHOST"], port: ENV["PGPORT"], username: ENV["PGUSER"], password: "unused", database: "shop", prepared_statements: prepared, variables: { statement_timeout: "30s" })
  try = ->(&block) { block.call rescue warn "#{$!.class}: #{$!.message[0, 200]}" }
  authors = 4.times.map { |n| Author.create!(name: "A#{n} #{prepared}", email: "a#{n}@shop.example", settings: { theme: "dark" }) }
  tags = 3.times.map { |n| Tag.create!(name: "t#{n}") }
  books = 8.times.map { |n| Book.create!(title: "B#{n}", price: n, author: authors[n % 4], labels: ["x", "l#{n}"], extra: { k: "v" }, on_sale: Date.new(2026, 1, 1)..Date.new(2026, 2, 1)) }
  try.call { books.each { |book| book.tags << tags.first(2) } }
  try.call { books[0].tags.delete(tags[0]); books[1].tags.clear; books[2].tag_ids = [tags[2].id] }
  Praise.create!(subject: authors[0], body: "good")
  try.call { Author.create!(name: authors[0].name) }
  [
    -> { Book.all.to_a }, -> { Book.first }, -> { Book.last(2) }, -> { Book.find(books[0].id) }, -> { Book.find_by(title: "B1") }, -> { Book.take },
    -> { Book.where(title: %w[B1 B2]).where.not(price: nil).order(price: :desc).limit(2).offset(1).to_a },
    -> { Book.where(price: 1..5).or(Book.where(title: "B7")).to_a }, -> { Book.where(price: 3..).to_a }, -> { Book.where("title ILIKE :t", t: "%b%").to_a },
    -> { Book.where("labels @> ARRAY[?]::varchar[]", ["x"]).to_a }, -> { Book.where("extra -> 'k' = ?", "v").to_a }, -> { Author.where("settings ->> 'theme' = ?", "dark").to_a },
    -> { Book.joins(:author).where(authors: { name: authors[0].name }).to_a }, -> { Book.left_joins(:comments).where(comments: { id: nil }).to_a },
    -> { Author.includes(:books).to_a }, -> { Author.preload(books: :tags).to_a }, -> { Author.eager_load(:books).where("books.price > 1").to_a }, -> { Author.eager_load(:books).limit(2).to_a },
    -> { Author.includes(:comments).references(:comments).to_a }, -> { authors[0].tags.to_a }, -> { authors[0].comments.to_a }, -> { Comment.includes(:subject).to_a }, -> { Praise.all.to_a },
    -> { Book.group(:author_id).having("count(*) > 1").count }, -> { Book.group(:state).sum(:price) }, -> { Book.average(:price) }, -> { Book.minimum(:price) }, -> { Book.count(:title) }, -> { Book.distinct.count(:author_id) },
    -> { Book.pluck(:title, :price) }, -> { Book.ids }, -> { Book.exists?(title: "B1") }, -> { Book.any? }, -> { Book.none.to_a }, -> { Book.dear.published.to_a },
    -> { Book.select("author_id, sum(price) AS total").group(:author_id).order(Arel.sql("total DESC NULLS LAST")).to_a },
    -> { Book.select("title, rank() OVER (PARTITION BY author_id ORDER BY price DESC) AS place").to_a },
    -> { Book.from(Book.dear, :books).to_a }, -> { Book.where(author: Author.where(name: authors[0].name)).to_a }, -> { Book.where(id: Book.select(:id).dear).to_a },
    -> { Book.find_each(batch_size: 3) { |b| b } }, -> { Book.in_batches(of: 4) { |b| b.pluck(:id) } }, -> { Book.lock.first }, -> { Book.lock("FOR UPDATE SKIP LOCKED").limit(1).to_a },
    -> { Book.readonly.extending.reorder(nil).unscope(:where).first }, -> { Book.order(:title).reverse_order.first }, -> { Book.order(Arel.sql("random()")).first },
    -> { Book.optimizer_hints("SeqScan(books)").to_a }, -> { Book.annotate("from the report").first }, -> { Book.dear.explain },
    -> { books[3].update!(title: "New", price: 9) }, -> { books[3].update_columns(price: 8) }, -> { books[3].touch }, -> { books[3].increment!(:price) }, -> { books[3].reload }, -> { books[3].published! },
    -> { Book.where(title: "B4").update_all("price = price + 1") }, -> { Book.where(title: "B4").update_all(title: "B44", labels: ["z"]) }, -> { Book.joins(:author).where(authors: { name: "x" }).update_all(price: 1) },
    -> { Book.where(title: "B5").delete_all }, -> { Book.joins(:author).where(authors: { name: "x" }).delete_all }, -> { books[6].destroy }, -> { authors[3].destroy },
    -> { Tag.insert({ name: "i" }) }, -> { Tag.insert_all([{ name: "a" }, { name: "b" }], returning: [:id]) }, -> { Author.upsert({ name: authors[0].name, settings: {}, created_at: Time.now, updated_at: Time.now }, unique_by: :name) },
    -> { Author.find_or_create_by!(name: "found #{prepared}") }, -> { Author.create_or_find_by!(name: "found #{prepared}") }, -> { Tag.update_counters(tags[0].id, books_count: 2) }, -> { Tag.reset_counters(tags[0].id, :books) },
    -> { Book.transaction { Book.transaction(requires_new: true) { Book.create!(title: "T", author: authors[0]); raise ActiveRecord::Rollback } } },
    -> { Book.transaction(isolation: :serializable) { Book.count } }, -> { books[2].with_lock { books[2].title = "L" } }, -> { Book.connection.execute("SELECT 1") },
    -> { Book.find_by_sql(["SELECT b.* FROM books b WHERE price > ?", 1]) }, -> { Book.connection.select_all("SELECT id, total FROM order_totals LIMIT 2").to_a }, -> { Book.connection.exec_query("SELECT $1::int + 1", "q", [[nil, 3]]) },
    -> { Customer.where("tags @> ARRAY['all']").limit(3).to_a }, -> { Order.includes(:customer).where(status: "paid").limit(5).to_a }, -> { OrderTotal.first }, -> { Order.where(placed_at: 1.year.ago..Time.now).group("date_trunc('month', placed_at)").count },
    -> { Order.create!(customer_id: 1, note: "rails") }, -> { Book.connection.disable_referential_integrity { 1 } }, -> { Book.connection.reset_pk_sequence!("tags") }, -> { Book.connection.truncate_tables("comments") },
    -> { Book.connection.advisory_lock_test rescue Book.connection.get_advisory_lock(42) }, -> { Book.connection.release_advisory_lock(42) }, -> { Book.uncached { Book.count } }, -> { Book.connection.tables; Book.connection.views; Book.connection.data_sources; Book.connection.indexes("books"); Book.connection.foreign_keys("books"); Book.connection.check_constraints("books"); Book.connection.primary_keys("order_items"); Book.connection.extensions; Book.connection.current_schema; Book.connection.schema_names; Book.connection.collation; Book.connection.encoding; Book.connection.ctype; Book.connection.table_comment("authors"); Book.connection.max_identifier_length; Book.connection.database_exists?("x") rescue 1 },
    -> { Book.connection.create_schema("extra_schema"); Book.connection.drop_schema("extra_schema") }, -> { Book.connection.schema_search_path = "public, warehouse" }, -> { Book.connection.session_auth = "shop_owner" rescue 1 }, -> { Book.connection.create_enum("x", %w[a]) rescue 1 }, -> { Book.connection.create_database("spare"); Book.connection.drop_database("spare") }, -> { Book.connection.client_min_messages = "notice" },
    -> { Book.connection.reconnect! }, -> { Book.connection.reset! },
  ].each { |step| try.call(&step) }
end
# The join table of the models, so that the last state has what the statements name.
ActiveRecord::InternalMetadata.create_table
ActiveRecord::InternalMetadata[:environment] = "development"
